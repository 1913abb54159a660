"""What the README shows is what happens."""

from __future__ import annotations

import re

import pytest

import docs_examples

README = docs_examples.ROOT / "README.md"
EXAMPLES = list(docs_examples.examples(README))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_prints_what_the_readme_says(example):
    assert docs_examples.run(example) == example.output


def test_the_readme_shows_the_package_with_and_without_await():
    programs = [example.code for example in EXAMPLES if example.output]
    assert any("await " in program for program in programs)
    assert any("holdall.sync" in program for program in programs)


def test_every_command_of_the_readme_exists():
    targets = re.findall(r"^(\w+):", (docs_examples.ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"\bmake (\w+)", README.read_text())
    assert {"demo", "test"} <= set(named) <= set(targets)


def test_the_rust_of_the_readme_is_an_example_that_cargo_runs():
    block = re.search(r"^```rust\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    assert block
    source = (docs_examples.ROOT / "crates" / "holdall" / "src" / "blob.rs").read_text()
    for line in filter(None, block[1].splitlines()):
        assert f"/// {line}".replace('"kitchen"', "folder.path()") in source
