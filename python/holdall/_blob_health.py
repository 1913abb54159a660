"""The part of `BlobManager` that finds damage and sets it right."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdall._arguments import check_flag, check_plain_call
from holdall._blobs import BlobCore

if TYPE_CHECKING:
    from holdall._core import Checkup
    from holdall.health import OnProgress, Problem, RepairReport, VerifyReport


class BlobHealth(BlobCore):
    """Verify and repair."""

    async def verify(self, *, progress: OnProgress | None = None) -> VerifyReport:
        """Reads every value and all that belongs to the store, and says what is damaged.

        Nothing is changed on disk, but that files of other programs are listed from then on. No
        writer waits for it, no value is decoded, and damage is no error: it is in the report. The
        work is done in steps of some milliseconds on one thread beside the event loop; cancelled,
        it ends within one of them.

        Args:
            progress: Called with one object, a `holdall.health.Progress`, after each step. (That
                of `migrate_all` gets two numbers.)

        Raises:
            StorageIOError: The store cannot be opened or read at all.
            StoreVersionError: A later release made it.
            StoreBusyError: Another process has held a damaged key for too long.
        """
        check_plain_call("progress", progress, "verify")
        return _verified(await self._checked("verify", progress))

    async def repair(
        self, *, dry_run: bool = False, progress: OnProgress | None = None
    ) -> RepairReport:
        """Verifies the store and sets right what is damaged; deletes no value.

        The index is made anew from the files where it is wrong, what dead writers have left is
        removed, and values that are damaged are moved into `.holdall/quarantine`, each with a
        note. What somebody has to decide is left as it is and listed in `kept`; files of other
        programs are not touched, and nothing is signed. Other processes may go on; writers wait
        while the index is made anew. It may be interrupted, also by a power cut, and run again.

        Args:
            dry_run: Only say what would be done.
            progress: Called with a `holdall.health.Progress` while the store is verified.

        Raises:
            StorageIOError: The store cannot be written; what was done before is done.
            StoreBusyError: Another process has held a key for `lock_timeout` seconds.
            StoreVersionError: A later release made it.
        """
        check_flag("dry_run", dry_run, "repair")
        check_plain_call("progress", progress, "repair")
        checkup = await self._checked("repair", progress)
        return _repaired(await self._wait(checkup.mend(dry_run)))

    async def _checked(self, operation: str, progress: OnProgress | None) -> Checkup:
        """A verification that is over."""
        from holdall.health import Progress

        store = await self._open(operation)
        checkup = await self._wait(store.verification())
        while (step := await self._wait(checkup.step())) is not None:
            if progress is not None:
                progress(Progress(*step))
        return checkup


def _problem(kind: Any, key: str | None, path: str | None, what: str, remedy: str) -> Problem:
    from holdall.health import Problem

    return Problem(kind, key, None if path is None else Path(path), what, remedy)


def _problems(found: Iterable[tuple[Any, ...]]) -> tuple[Problem, ...]:
    return tuple(_problem(*one) for one in found)


def _verified(checkup: Checkup) -> VerifyReport:
    from holdall.health import VerifyReport

    told = checkup.report()
    for name in ("problems", "notices"):
        told[name] = _problems(told[name])
    return VerifyReport(**told)


def _repaired(told: dict[str, Any]) -> RepairReport:
    from holdall.health import Quarantined, RepairReport

    for name in ("mended", "swept", "kept"):
        told[name] = _problems(told[name])
    aside = ((_problem(*one), Path(folder)) for one, folder in told["quarantined"])
    told["quarantined"] = tuple(Quarantined(problem, folder) for problem, folder in aside)
    return RepairReport(**told)
