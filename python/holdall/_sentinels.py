"""Arguments that were left out, told apart from every value that a caller could pass."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, TypeAlias


class Sentinel(Enum):
    """The two words of the package that no value is equal to."""

    DEFAULT = "DEFAULT"
    MISSING = "MISSING"

    def __repr__(self) -> str:
        return self.value


Default: TypeAlias = Literal[Sentinel.DEFAULT]
Missing: TypeAlias = Literal[Sentinel.MISSING]

DEFAULT: Final = Sentinel.DEFAULT
"""The manager's own setting."""

MISSING: Final = Sentinel.MISSING
"""No value: neither given by the caller nor found in the store."""
