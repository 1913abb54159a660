"""What `verify` and `repair` answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

__all__ = [
    "OnProgress",
    "Problem",
    "ProblemKind",
    "Progress",
    "Quarantined",
    "RepairReport",
    "VerifyReport",
]

ProblemKind: TypeAlias = Literal[
    "content_damaged",
    "content_truncated",
    "compression_damaged",
    "signature_wrong",
    "signature_missing",
    "signature_unknown_key",
    "stamp_damaged",
    "stamp_missing",
    "stamp_newer",
    "outdated_file",
    "in_two_places",
    "conflict",
    "blocked_key",
    "unreadable",
    "index_row_missing",
    "index_row_without_file",
    "index_row_differs",
    "index_row_damaged",
    "index_damaged",
    "counters_wrong",
    "inline_record_damaged",
    "inline_database_damaged",
    "inline_database_missing",
    "leftover",
    "key_record_missing",
    "permissions",
    "owner",
    "clock_behind",
    "clock_replaced",
    "signer_damaged",
    "signer_unknown",
    "store_file_damaged",
    "stamp_of_another_key",
    "stamp_of_another_store",
    "case_collision",
    "index_behind",
    "dead_writer",
    "clock_remade",
    "inline_unread",
    "signatures_unchecked",
]
"""The kinds of damage, and behind `store_file_damaged` what is worth knowing and no damage.

`docs/repair.md` says of each what it means and what a repair does about it. A later release may
have more of them.
"""


class Progress(NamedTuple):
    """How far a verification is."""

    checked: int
    """Values that were read."""
    bytes: int
    """Their bytes."""
    total: int | None
    """How many values there are, where that is known; others may come and go meanwhile."""


OnProgress: TypeAlias = Callable[[Progress], object]
"""Called every few milliseconds, on the thread that awaits."""


@dataclass(frozen=True)
class Problem:
    """Something that is not as it should be."""

    kind: ProblemKind
    """What kind of damage it is."""
    key: str | None
    """The key that it is about, if it is about one."""
    path: Path | None
    """The file or folder, as far as it is known."""
    what: str
    """What was found; never a value or a part of one."""
    remedy: str
    """What to do."""

    def __str__(self) -> str:
        """One line for people."""
        about = f" (key {self.key!r})" if self.key is not None else ""
        at = f" ({self.path})" if self.path is not None else ""
        return f"{self.kind}: {self.what}{about}{at}; {self.remedy}"


@dataclass(frozen=True)
class VerifyReport:
    """What a verification has found."""

    checked: int
    """Values that were read whole, those of other programs too."""
    bytes: int
    """Their bytes, as stored."""
    foreign: int
    """Files of other programs."""
    seconds: float
    """How long it took."""
    problems: tuple[Problem, ...]
    """What is damaged."""
    notices: tuple[Problem, ...]
    """What is worth knowing and is no damage."""

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged."""
        return not self.problems


@dataclass(frozen=True)
class Quarantined:
    """A value that was taken out of the store because it is damaged."""

    problem: Problem
    """What was wrong with it."""
    folder: Path
    """Where it lies now, with a note; of a dry run, the folder of all of them."""


@dataclass(frozen=True)
class RepairReport:
    """What a repair has done; of a dry run, what it would do."""

    dry_run: bool
    """Nothing was done: these are plans."""
    rebuilt: bool
    """The index was made anew from the files."""
    mended: tuple[Problem, ...]
    """What was set right in its place."""
    swept: tuple[Problem, ...]
    """What dead writers had left, and is gone."""
    quarantined: tuple[Quarantined, ...]
    """What was taken out of the store and is kept aside."""
    kept: tuple[Problem, ...]
    """What was left as it is, for somebody to decide."""
    salvaged: int | None = None
    """How many values could be read of a damaged database of inline values; all others are lost,
    unless somebody gets them out of the one in quarantine. `None` if none had to be made anew."""

    @property
    def unchanged(self) -> bool:
        """Whether there was nothing to be done."""
        return not (self.rebuilt or self.mended or self.swept or self.quarantined)
