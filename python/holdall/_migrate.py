"""What the command line asks of Python: `python -m holdall._migrate REQUEST`.

A line of JSON after each step, and a report in the last one. Ctrl-C ends it after the values that
it is at.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdall.types import MigrationReport


def _say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


async def migrate(request: dict[str, Any]) -> None:
    """Does what is asked, and tells."""
    from holdall import BlobManager, HoldallError
    from holdall.errors import MigrationStoppedError

    counts = {"checked": 0, "converted": 0}

    def progress(checked: int, converted: int) -> None:
        counts.update(checked=checked, converted=converted)
        _say(**counts)

    asked = {name: value for name, value in request.items() if name != "store"}
    # Nothing is removed that nobody asked to have removed.
    async with BlobManager(request["store"], clean_every=None) as blobs:
        # The program that has called keeps other migrations out.
        blobs._is_part = True
        work = asyncio.ensure_future(blobs.migrate_all(**asked, progress=progress))
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, work.cancel)
        # From here on it ends in order.
        _say(**counts)
        try:
            done = await work
        except asyncio.CancelledError:
            _say(**counts, finished=False, failed={})
            return
        except MigrationStoppedError as error:
            _report(error.report, stopped=str(error.__cause__), left=error.left)
            return
        except HoldallError as error:
            _say(error=str(error))
            return
    _report(done)


def _report(done: MigrationReport, **more: Any) -> None:
    failed = {key: str(error) for key, error in done.failed.items()}
    _say(**{**done._asdict(), "failed": failed, "finished": True, **more})


if __name__ == "__main__":
    # A reader that has gone wants nothing more.
    with suppress(BrokenPipeError):
        asyncio.run(migrate(json.loads(sys.argv[1])))
