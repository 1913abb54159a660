"""Imports point one way, files stay short, and what has one owner has one owner."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "python" / "holdall"
ENGINE = ROOT / "crates" / "holdall" / "src"
BINDING = ROOT / "crates" / "holdall-python" / "src"

RUST_LAYERS = (
    {"error", "flush", "fork", "sigbus", "sync"},
    {"blocks", "cancel", "clock", "config", "format", "key", "pool"},
    {"lock", "signing"},
    {"record"},
    {"cache", "index"},
    {"backend", "stats"},
    {"blob"},
    {"storage"},
    {"fuzzing"},
)
"""Each module of the engine uses only modules of the layers above its line."""


def rust_modules() -> Iterator[tuple[Path, str]]:
    """Every source file of the engine without its tests and comments."""
    for path in sorted(ENGINE.rglob("*.rs")):
        below = path.relative_to(ENGINE)
        if path.name == "lib.rs" or any("test" in part for part in below.parts):
            continue
        text = re.split(r"#\[cfg\(test\)\]\s*(?:pub\S* )?mod \w+ \{", path.read_text())[0]
        yield below, re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)


def used(text: str) -> Iterator[str]:
    """The modules of the crate that a file names."""
    for one, several in re.findall(r"\bcrate::(?:(\w+)|\{([^;]*)\};)", text):
        for name in [one] if one else re.findall(r"(?:^|,)\s*(\w+)", several):
            # `crate::Error` and the like are shown at the top, and live in their modules.
            yield "error" if name in ("Error", "ErrorKind", "Result") else name


def module_of(below: Path) -> str:
    return below.parts[0].removesuffix(".rs")


def test_every_module_of_the_engine_uses_only_what_lies_below_it():
    rank = {name: at for at, layer in enumerate(RUST_LAYERS) for name in layer}
    modules = {module_of(below) for below, _ in rust_modules()}
    assert modules <= set(rank), "a new module needs its place in RUST_LAYERS"
    wrong = [
        f"{below} uses {name}"
        for below, text in rust_modules()
        for name in used(text)
        if name != module_of(below) and rank.get(name, len(rank)) >= rank[module_of(below)]
    ]
    assert not wrong


def test_backends_policies_and_formats_do_not_know_each_other():
    wrong = []
    for below, text in rust_modules():
        match below.parts:
            case ("backend", "file", *_):
                others = r"\bmemory::"
            case ("backend", "memory.rs"):
                others = r"\b(file|index|lock)::"
            case ("cache", "policy", name) if name not in ("mod.rs", "conformance.rs", "ghost.rs"):
                others = r"\bcrate::|super::super"
            case ("format", name) if name != "mod.rs":
                others = r"\bcrate::(?!error|format)"
            case _:
                continue
        if re.search(others, text):
            wrong.append(str(below))
    assert not wrong


def test_the_engine_knows_neither_python_nor_a_runtime():
    manifest = (ROOT / "crates" / "holdall" / "Cargo.toml").read_text()
    assert not re.search(r"^(pyo3|tokio|async-std|smol)\b", manifest, re.MULTILINE)


def test_what_is_explored_is_built_as_what_ships():
    """The crate of schedules has the engine's sources, and its dependencies word for word."""
    explored = ROOT / "crates" / "holdall-races" / "Cargo.toml"

    def dependencies(manifest: Path) -> list[str]:
        (part,) = re.findall(r"(?ms)^\[dependencies\]\n(.*?)^\[", manifest.read_text())
        return re.findall(r"(?m)^\w.*", part)

    ours = dependencies(ROOT / "crates" / "holdall" / "Cargo.toml")
    assert dependencies(explored) == [*ours, 'shuttle = "0.9"']
    assert 'path = "../holdall/src/lib.rs"' in explored.read_text()
    locks = [ROOT / "Cargo.lock", explored.with_name("Cargo.lock")]
    versions = [
        set(re.findall(r'name = "(.*)"\nversion = "(.*)"', lock.read_text())) for lock in locks
    ]
    names = {line.split(" ")[0] for line in ours}
    shipped, built = ({one for one in found if one[0] in names} for found in versions)
    assert shipped <= built


def test_event_loop_has_one_owner_in_the_binding():
    word = re.compile(r"call_soon_threadsafe|get_running_loop|create_future|add_reader")
    owners = {path.name for path in BINDING.rglob("*.rs") if word.search(path.read_text())}
    assert owners <= {"bridge.rs"}


UNSAFE = {
    "holdall": {
        "backend/file/coherence.rs",  # a mapping that processes share
        "backend/file/registry.rs",  # what happens in a fork
        "backend/file/uses.rs",  # as coherence.rs
        "backend/file/writeback.rs",  # a call that no crate has
        "fork.rs",  # as registry.rs
        "index/sqlite/checksums.rs",  # functions that SQLite calls
        "index/sqlite/log/mod.rs",  # as checksums.rs
        "index/sqlite/system.rs",  # what SQLite tells through pointers only
        "lock/ofd.rs",  # as writeback.rs
        "pool.rs",  # no lock that a fork could leave locked
        "sigbus.rs",  # a signal handler
    },
    "holdall-python": {
        "cache.rs",  # as hot.rs
        "convert.rs",  # memory of Python objects
        "gil.rs",  # what the interpreter lock protects
        "hot.rs",  # functions without PyO3 around them
        "memory.rs",  # as convert.rs
        "plain.rs",  # objects that may change while they are read
        "ready.rs",  # a type with slots that PyO3 has not
    },
}
"""The files of each crate that may hold unsafe code, tests apart; elsewhere it is denied."""


def unsafe_files(crate: str) -> set[str]:
    folder = ROOT / "crates" / crate / "src"
    found = set()
    for path in folder.rglob("*.rs"):
        text = re.sub(r"//.*", "", path.read_text())
        code = re.split(r"#\[cfg\(test\)\]\s*(?:pub\S* )?mod \w+ \{", text)[0]
        if "tests" not in path.relative_to(folder).parts and "unsafe_code" in code:
            found.add(str(path.relative_to(folder)))
    return found


def test_unsafe_code_is_allowed_in_the_files_that_are_listed_and_denied_elsewhere():
    for crate, listed in UNSAFE.items():
        assert unsafe_files(crate) == listed
        manifest = (ROOT / "crates" / crate / "Cargo.toml").read_text()
        assert re.search(r"^\[lints\]\nworkspace = true$", manifest, re.MULTILINE)
    lints = (ROOT / "Cargo.toml").read_text()
    for lint in ("unsafe_code", "unsafe_op_in_unsafe_fn", "undocumented_unsafe_blocks"):
        assert f'{lint} = "deny"' in lints


def test_a_lint_is_allowed_with_its_reason():
    for path in (ROOT / "crates").rglob("*.rs"):
        for allowed in re.findall(r"#!?\[(?:allow|expect)\(([^\]]*)\)\]", path.read_text()):
            assert "reason = " in allowed, f"{path.name}: {allowed}"


# -- Python ---------------------------------------------------------------------------------------


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, modules: set[str]) -> set[str]:
    """The modules of the package that a file imports, those for type checkers left out."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("holdall"):
            assert node.module and not node.level
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update((below & modules) or {node.module})
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name.startswith("holdall"))
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return (found & modules) - {name_of(path)}


def python_graph() -> dict[str, set[str]]:
    files = {name_of(path): path for path in PACKAGE.rglob("*.py")}
    return {name: imports(path, set(files)) for name, path in files.items()}


def test_no_module_of_the_package_imports_itself_by_a_detour():
    graph = python_graph()
    state: dict[str, str] = {}

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert state.get(name) != "open", f"a circle: {' -> '.join((*way, name))}"
        if state.get(name) == "done":
            return
        state[name] = "open"
        for other in sorted(graph[name]):
            visit(other, (*way, name))
        state[name] = "done"

    for name in sorted(graph):
        visit(name, ())


def test_a_format_knows_bytes_and_values_only():
    allowed = {"holdall.errors", "holdall._size", "holdall._sentinels", "holdall._messages"}
    for name, imported in python_graph().items():
        if name.startswith("holdall.formats"):
            outside = {other for other in imported if not other.startswith("holdall.formats")}
            assert outside <= allowed, f"{name} imports {outside - allowed}"


def test_memory_knows_nothing_of_blobs_and_nobody_builds_on_the_sync_face():
    graph = python_graph()
    blobs = {name for name in graph if "blob" in name}
    for name in ("holdall.cache_manager", "holdall._cached", "holdall._single_flight"):
        assert not graph[name] & blobs
    for name, imported in graph.items():
        if not name.startswith("holdall.sync"):
            assert not any(other.startswith("holdall.sync") for other in imported), name


# -- length ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "suffix"),
    [(ROOT / "crates", ".rs"), (PACKAGE, ".py"), (ROOT / "examples", ".py")],
    ids=["rust", "python", "examples"],
)
def test_files_stay_short(folder, suffix):
    lengths = {path: len(path.read_text().splitlines()) for path in folder.rglob(f"*{suffix}")}
    assert lengths
    longest = max(lengths, key=lengths.__getitem__)
    assert lengths[longest] <= 500, f"{longest.name} has {lengths[longest]} lines: split it"
    assert statistics.median(lengths.values()) <= 200
