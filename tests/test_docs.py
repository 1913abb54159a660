"""The pages under docs/ are true: their programs run, their links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import docs_examples
from holdall import errors, formats

PAGES = docs_examples.pages()
EXAMPLES = [
    example
    for page in PAGES
    if page.name != "README.md"
    for example in docs_examples.examples(page)
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_a_program_prints_what_the_page_says(example):
    assert docs_examples.run(example) == example.output


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        found = (page.parent / path) if path else page
        assert found.exists(), f"{page.name} links to {target}"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", t).strip().lower().replace(" ", "-") for t in titles}
            assert anchor in anchors, f"{page.name} links to {target}"


def test_every_error_has_a_line_in_its_page():
    described = (docs_examples.ROOT / "docs" / "errors.md").read_text()
    missing = [name for name in errors.__all__ if f"`{name}`" not in described]
    assert not missing


def test_every_format_is_in_the_table_of_formats():
    described = (docs_examples.ROOT / "docs" / "concepts.md").read_text()
    missing = [name for name in formats.FORMATS if f"| `{name}`" not in described]
    assert not missing


@pytest.mark.timeout(120)
def test_the_demonstration_keeps_its_promises(tmp_path):
    pytest.importorskip("sklearn")
    program = docs_examples.ROOT / "examples" / "demo.py"
    for _ in range(2):  # the second run begins with what the first has left
        shown = subprocess.run(
            [sys.executable, program], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert shown.returncode == 0, shown.stderr + shown.stdout
    assert "a second process read 3,787 values" in shown.stdout
    assert (tmp_path / "demo-store" / "airports" / "SFO.json").is_file()
