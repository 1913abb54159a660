"""Every exception of the package, one tree; builtins are mixed in, so plain `except` works.

```text
HoldallError(Exception)                    key, operation, path: what it was about, or None
├── BlobNotFoundError                      (FileNotFoundError, KeyError) no value under the key
├── InvalidKeyError                        (ValueError) empty, not a str, a NUL, a lone surrogate
├── InvalidArgumentError                   (ValueError) a TTL, an option, a page size
│   └── OptionError                        what a format does not take, or cannot use
├── ConfigurationError                     (ValueError) a bad variable or `.env`
├── UnknownFormatError                     (ValueError) no such format, or none fits the type
├── FormatMismatchError                    (ValueError) the value was stored in another format
├── SerializationError                     (ValueError) the value cannot be written; the old stands
├── DeserializationError                   (ValueError) the bytes are not what was asked for
│   └── InvalidJSONError                   (json.JSONDecodeError) with lineno, colno and pos
├── BlobCorruptError                       (ValueError) the bytes are not those that were saved
├── UntrustedPayloadError                  (PermissionError) a pickle that this user did not sign
│   └── PickleRefusedError                 it names what allow_classes does not have
├── ConflictError                          (FileExistsError) if_absent or if_match does not hold
├── ReentrantLoadError                     (RuntimeError) a loader waits for itself
├── BatchError                             some keys of a batch failed; the others are done
├── StoreBusyError                         (TimeoutError) another process holds the key too long
├── StorageIOError                         (OSError) no space, no permission, a failing disk
│   └── MigrationStoppedError              there is no room for the rest of a migration
├── StoreVersionError                      (RuntimeError) the store is of a newer release
├── StorageDisabledError                   (RuntimeError) switched off by configuration
└── StoreClosedError                       (RuntimeError) the manager was closed
```

A message says what was being done, on which key, why it failed and what to do next. It never
holds a value, or a part of one.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from holdall._core import (
    BlobCorruptError,
    BlobNotFoundError,
    ConflictError,
    FormatMismatchError,
    HoldallError,
    InvalidArgumentError,
    InvalidKeyError,
    StorageDisabledError,
    StorageIOError,
    StoreBusyError,
    StoreClosedError,
    StoreVersionError,
    UntrustedPayloadError,
)
from holdall._messages import sentence

if TYPE_CHECKING:
    from holdall.types import MigrationReport

__all__ = [
    "BatchError",
    "BlobCorruptError",
    "BlobNotFoundError",
    "ConfigurationError",
    "ConflictError",
    "DeserializationError",
    "FormatMismatchError",
    "HoldallError",
    "InvalidArgumentError",
    "InvalidJSONError",
    "InvalidKeyError",
    "MigrationStoppedError",
    "OptionError",
    "PickleRefusedError",
    "ReentrantLoadError",
    "SerializationError",
    "StorageDisabledError",
    "StorageIOError",
    "StoreBusyError",
    "StoreClosedError",
    "StoreVersionError",
    "UnknownFormatError",
    "UntrustedPayloadError",
]


class _Told(HoldallError):
    """What the exceptions born in Python share: the sentence is put together when it is shown.

    A codec knows the cause and the remedy; the manager above it adds operation and key.
    """

    def __init__(
        self,
        cause: str,
        remedy: str | None = None,
        *,
        operation: str | None = None,
        key: str | None = None,
    ) -> None:
        # The next class in line may be json.JSONDecodeError, whose arguments are others.
        Exception.__init__(self, cause)
        self.cause = cause
        self.remedy = remedy
        self.operation = operation
        self.key = key
        self.path = None

    def __str__(self) -> str:
        return sentence(self.cause, self.remedy, operation=self.operation, key=self.key)

    def __reduce__(self) -> tuple[Any, ...]:
        attributes = dict(self.__dict__)
        if isinstance(self, OSError):
            # It keeps its number beside the other attributes.
            attributes["errno"] = self.errno
        return _rebuilt, (type(self), self.cause, attributes)


def _rebuilt(kind: type[_Told], cause: str, attributes: dict[str, Any]) -> _Told:
    """An exception that came from another process."""
    error = kind.__new__(kind, cause)
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


class ConfigurationError(_Told, ValueError):
    """A setting of the environment or of `.env` is not allowed, or the file cannot be read."""


class UnknownFormatError(_Told, ValueError):
    """There is no format of that name, or no safe format takes a value of that type."""


class OptionError(_Told, InvalidArgumentError):
    """The format does not take that option, or cannot use what was given for it."""


class SerializationError(_Told, ValueError):
    """The value cannot be written in the format; nothing was stored and the old value stands."""


class DeserializationError(_Told, ValueError):
    """The stored bytes are whole but do not decode to what was asked for.

    When `model_class` did not fit, `__cause__` is pydantic's `ValidationError`.
    """


class PickleRefusedError(_Told, UntrustedPayloadError):
    """A pickle names a class or does a thing that `allow_classes` does not have.

    On a load nothing of what was refused has run; on a save nothing was stored.

    Attributes:
        name: The exact name of the class or function, as `allow_classes` takes it; `None` if the
            pickle was refused for something else.
    """

    def __init__(self, cause: str, remedy: str, *, name: str | None) -> None:
        """Makes the error for a name, or for another cause."""
        super().__init__(cause, remedy)
        self.name = name


class InvalidJSONError(DeserializationError, json.JSONDecodeError):
    """The stored text is not JSON.

    Attributes:
        msg: What the parser said.
        lineno: Line, counted from 1.
        colno: Column in bytes, counted from 1.
        pos: Offset in bytes, counted from 0.
        doc: Always empty: errors travel into logs, values must not.
    """

    def __init__(self, msg: str, *, lineno: int, colno: int, pos: int) -> None:
        """Makes the error for a parser's words and position."""
        super().__init__(
            f"the stored text is not JSON: {msg}: line {lineno} column {colno}",
            "mend the file, or save the value again",
        )
        self.msg = msg
        self.doc = ""
        self.lineno = lineno
        self.colno = colno
        self.pos = pos


class ReentrantLoadError(_Told, RuntimeError):
    """A loader asked for the key that it was called to load, and would wait for itself."""


class BatchError(_Told):
    """Some keys of a batch failed; what could be done was done.

    Attributes:
        succeeded: What the call would have returned for the other keys, by key.
        errors: The exception of each key that failed, by key.
    """

    def __init__(
        self, operation: str, succeeded: Mapping[str, Any], errors: Mapping[str, HoldallError]
    ) -> None:
        """Makes the error of a whole call from those of its keys."""
        first = next(iter(errors.values()))
        super().__init__(
            f"{len(errors)} of {len(errors) + len(succeeded)} keys failed, the first: {first}",
            "see .errors for each key and .succeeded for the others",
            operation=operation,
        )
        self.succeeded: dict[str, Any] = dict(succeeded)
        self.errors: dict[str, HoldallError] = dict(errors)
        self.__cause__ = first


class MigrationStoppedError(_Told, StorageIOError):
    """Nothing more can be written: the disk is full, or can only be read. What is done is done.

    Every value is whole, the old one or the new one, and another call goes on from there.

    Attributes:
        report: What was done, a `holdall.types.MigrationReport`.
        left: How many values are still to be looked at; `None` if they could not be counted.
    """

    def __init__(self, because: StorageIOError, report: MigrationReport, left: int | None) -> None:
        """Makes the error from that of the value that found no room."""
        words = {errno.EDQUOT: "the disk quota is used up"}
        words[errno.EROFS] = "the file system is mounted read-only"
        number = because.errno
        cause = words.get(number or 0, "the disk is full")
        place = "" if because.path is None else f" ({because.path})"
        rest = "" if left is None else f", {left:,} are left"
        remedy = "make room there, and migrate again, which goes on"
        if number == errno.EROFS:
            remedy = "have it mounted for writing, and migrate again, which goes on"
        cause = f"{cause}{place}; {report.converted:,} values were converted{rest}"
        super().__init__(cause, remedy, operation="migrate the store")
        self.errno = number
        self.path = because.path
        self.report = report
        self.left = left


def is_full(error: object) -> bool:
    """Whether no other value can be written either."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    return isinstance(error, StorageIOError) and error.errno in full


def during(error: HoldallError, operation: str, key: str | None) -> None:
    """Says what was being done on which key, unless deeper code has said so."""
    if isinstance(error, _Told):
        error.operation = error.operation or operation
        error.key = error.key if error.key is not None else key
