"""What a migration is asked for, and what it has done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple

from holdall._arguments import check_choice, check_plain_call
from holdall._blob_upgrade import Model
from holdall._blobs import named
from holdall._core import BlobMetadata, ConflictError, HoldallError
from holdall._messages import told
from holdall.errors import InvalidArgumentError, is_full
from holdall.types import Compression, MigrationReport

OPERATION = "migrate"
_ATTEMPTS = 8
"""How often a value is looked at anew that somebody else has saved meanwhile."""


class Asked(NamedTuple):
    """To what values are brought."""

    format: str | None
    compression: Compression | Literal["none"] | None
    model: Model

    @classmethod
    def checked(
        cls, to_format: Any, compression: Any, model_class: Any, upgrade: Any, key: str | None
    ) -> Asked:
        """The arguments of a migration, if they fit together."""
        check_plain_call("upgrade", upgrade, OPERATION)
        check_choice("compression", compression, (None, "zstd", "lz4", "none"))
        target = None if to_format is None else named(to_format, OPERATION, key)
        remedy = "name to_format=, compression= or model_class="
        what = None
        if upgrade is not None and model_class is None:
            what, remedy = "upgrade= needs a model_class=", "name the current model"
        elif model_class is not None and (target is not None or compression is not None):
            what = "a model and a format or compression cannot be asked for at once"
            remedy = "migrate twice"
        elif target is None and compression is None and model_class is None:
            what = "nothing is asked for"
        if what is not None:
            raise told(InvalidArgumentError, what, remedy, operation=OPERATION, key=key)
        return cls(target, compression, Model(model_class, upgrade))

    def is_done(self, record: BlobMetadata) -> bool:
        """Whether the record alone says that there is nothing to do."""
        if self.model.model_class is not None:
            return False
        codec = record.compression or "none"
        return self.format in (None, record.format) and self.compression in (None, codec)


class Done:
    """Counts, and what failed."""

    def __init__(self, progress: Callable[[int, int], object] | None) -> None:
        """Nothing yet."""
        self.checked = self.converted = self.unchanged = self.before = self.after = 0
        self.ended = 0
        """Values that need no other look."""
        self.failed: dict[str, HoldallError] = {}
        self._progress = progress

    def place(self, before: int, after: int) -> None:
        """Counts a value that was converted."""
        self.converted += 1
        self.before += before
        self.after += after

    async def attempt(self, key: str, once: Callable[[], Awaitable[None]]) -> None:
        """Again, if somebody else has changed the value meanwhile; what fails is noted.

        Raises:
            StorageIOError: There is no room for this value, nor for any other.
        """
        for attempt in range(_ATTEMPTS):
            try:
                await once()
                break
            except HoldallError as error:
                if is_full(error):
                    raise
                if not isinstance(error, ConflictError) or attempt == _ATTEMPTS - 1:
                    self.failed[key] = error
                    break
        self.ended += 1

    def tell(self, checked: int, elsewhere: int) -> None:
        """Calls whoever wants to know how far it is."""
        if self._progress is not None:
            self._progress(checked, elsewhere + self.converted)

    def report(
        self,
        checked: int = 0,
        converted: int = 0,
        unchanged: int = 0,
        before: int = 0,
        after: int = 0,
        failed: dict[str, HoldallError] | None = None,
    ) -> MigrationReport:
        """This, and what was done in Rust."""
        return MigrationReport(
            checked + self.checked,
            converted + self.converted,
            unchanged + self.unchanged,
            before + self.before,
            after + self.after,
            {**(failed or {}), **self.failed},
        )
