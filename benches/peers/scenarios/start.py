"""Starting: importing, and opening a store that is full."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from time import perf_counter

from ..adapters import stores
from ..model import Absent, Contender, Context, Measure, Scenario, Target
from .listing import full_peer
from .timing import running


def imported(module: str) -> Measure:
    """Milliseconds of an interpreter that imports it, less those of one that does nothing."""

    def once(code: str) -> float:
        begin = perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return perf_counter() - begin

    def measure(context: Context) -> float:
        if module and importlib.util.find_spec(module) is None:
            raise Absent(f"not installed: {module}")
        code = f"import {module}" if module else "pass"
        times = [(once(code), once("pass")) for _ in range(3 if context.quick else 7)]
        if not module:
            return min(whole for whole, _ in times) * 1e3
        return (min(whole for whole, _ in times) - min(bare for _, bare in times)) * 1e3

    return measure


def first_call(name: str) -> Measure:
    """Milliseconds to make a manager and learn how many keys there are."""

    def measure(context: Context) -> float:
        folder = full_peer(name, context)

        async def work() -> float:
            begin = perf_counter()
            store = stores()[name](folder)
            if store.count is None:
                raise Absent("cannot count")
            await store.count()
            took = perf_counter() - begin
            if store.close is not None:
                await store.close()
            return took * 1e3

        return float(running(work()))

    return measure


def _fixtures(context: Context) -> None:
    for name in ("holdall", "diskcache", "lmdb"):
        try:
            full_peer(name, context)
        except Absent:
            continue


MODULES = ("aiocache", "cashews", "cachebox", "diskcache", "obstore", "joblib", "zarr")
SCENARIOS = [
    Scenario(
        name="start/import",
        title="Importing",
        unit="ms",
        measures=(
"`python -c 'import X'` as a process, less a bare interpreter's, best of seven "
"of each in turn."
),
        leaves_out="The first start after installation. What a first call imports (pydantic).",
        contenders=(
            Contender("holdall", "holdall", imported("holdall")),
            *(Contender(module, "peer", imported(module)) for module in MODULES),
            Contender("bare interpreter", "floor", imported(""), "in full, nothing subtracted"),
        ),
        targets=(
            Target("import holdall: below 60 ms", "below", 60, floor="bare interpreter"),
        ),
    ),
    Scenario(
        name="start/open",
        title="Opening a store of 100,000 keys",
        unit="ms",
        measures=(
"In a fresh process: making the manager and the first answer to how many keys "
"there are, after a clean shutdown, from the page cache. The store is made once"
" in the run."
),
        leaves_out="A cold disk, a shutdown that was not clean, importing, the start of the loop.",
        contenders=(
            Contender("holdall", "holdall", first_call("holdall")),
            Contender("diskcache", "peer", first_call("diskcache")),
            Contender("lmdb", "peer", first_call("lmdb")),
        ),
        targets=(Target("opening a store of 100,000 keys: below 20 ms", "below", 20),),
        isolated=True,
        needs=_fixtures,
    ),
]  # fmt: skip
