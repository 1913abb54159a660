"""Opens the stores that it is told of, one after the other, and says what became of each value."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import holdall
from holdall import sync
from hostile.stores import SECRET, expected


def plain(value: Any) -> Any:
    return value.tolist() if type(value).__name__ == "ndarray" else value


def looked_at(call: Any) -> str:
    """`ok`, or the name of the error; one that is not ours is a finding."""
    try:
        call()
    except holdall.HoldallError as error:
        return type(error).__name__
    except BaseException as error:
        return f"RAW {type(error).__name__}: {error}"
    return "ok"


def examine(folder: Path) -> dict[str, Any]:
    """What loads, lists and saves say."""
    values: dict[str, str] = {}
    blobs = sync.BlobManager(folder, signing_key=SECRET, inline_below=4_096, lock_timeout=2)
    for key, wanted in expected().items():

        def load(key: str = key, wanted: Any = wanted) -> None:
            found = plain(blobs.load(key))
            if found != wanted:
                raise AssertionError(f"FALSE {found!r}"[:200])

        values[key] = looked_at(load)

    def saved() -> None:
        blobs.save("new/key", [1])
        assert blobs.load("new/key") == [1]

    calls = {
        "save": saved,
        "list": lambda: list(blobs.keys()),
        "stats": blobs.get_stats,
        "tags": lambda: blobs.evict("nothing has this"),
        "expire": blobs.expire,
        "close": blobs.close,
    }
    return {"values": values, **{name: looked_at(call) for name, call in calls.items()}}


def main() -> None:
    for line in sys.stdin:
        began = time.monotonic()
        found = examine(Path(line.rstrip("\n")))
        found["seconds"] = round(time.monotonic() - began, 3)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
