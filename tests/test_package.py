"""The package as a whole: what it exports, what importing it costs, examples, layers."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import holdall
import programs

ROOT = Path(holdall.__file__).parent
MODULES = sorted(
    one.name
    for one in pkgutil.walk_packages([str(ROOT)], "holdall.")
    if one.name != "holdall._core"
)


@pytest.mark.parametrize("name", ["holdall", *MODULES])
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


@pytest.mark.parametrize("name", ["holdall", *MODULES])
def test_what_is_listed_is_there(name):
    module = importlib.import_module(name)
    for one in getattr(module, "__all__", ()):
        assert getattr(module, one) is not None
    assert list(holdall.__all__) == sorted(set(holdall.__all__), key=_order)


def _order(name):
    return (not name.isupper(), not name[0].isupper(), name)


def test_star_import_and_unknown_names():
    space: dict = {}
    exec("from holdall import *", space)
    assert set(holdall.__all__) <= set(space)
    assert set(holdall.__all__) <= set(dir(holdall))
    with pytest.raises(AttributeError, match="no attribute"):
        _ = holdall.nothing


HEAVY = (
    "asyncio", "cloudpickle", "hashlib", "joblib", "multiprocessing", "numpy", "pandas", "pydantic",
    "pydantic_core", "scipy", "sklearn", "socket", "sqlite3", "ssl", "subprocess", "uvloop",
)  # fmt: skip


def imported_by(code: str, *args: object) -> set[str]:
    """The modules that a program has at its end."""
    code += "; import sys; print(*sys.modules)"
    return set(programs.run(code, *args).split())


def test_importing_is_cheap():
    found = imported_by("import holdall; holdall.BlobManager, holdall.StorageManager, holdall.sync")
    assert found.isdisjoint(HEAVY)
    alone = imported_by("import holdall")
    assert {name for name in alone if name.startswith("holdall")} == {"holdall"}


def test_a_format_imports_its_package_when_it_is_used(tmp_path):
    using = "import sys; from holdall import sync; s = sync.BlobManager(sys.argv[1]); "
    found = imported_by(
        using + "s.save('k', 'text'); s.load('k'); s.save('b', b''); s.load('b')", tmp_path
    )
    assert found.isdisjoint(HEAVY)
    found = imported_by(using + "s.save('k', [1]); s.load('k')", tmp_path)
    assert found.isdisjoint({"asyncio", "joblib", "numpy", "sklearn"})
    found = imported_by(using + "s.save('k', {1}, 'pickle'); s.load('k')", tmp_path)
    assert found.isdisjoint({"asyncio", "joblib", "numpy", "pydantic"})


def test_formats_know_bytes_and_values_only():
    allowed = {"holdall._core", "holdall._size", "holdall.errors", "holdall.formats"}
    for path in (ROOT / "formats").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("holdall"):
                assert any(node.module.startswith(one) for one in allowed), (path, node.module)


def test_files_stay_short():
    for path in ROOT.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path
