"""Values that belong to a number: what is read back tells whether all of it is there."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np

from holdall.types import Format

FORMATS: tuple[Format, ...] = ("json", "string", "bytes", "npy", "pickle", "joblib")
LARGEST = 1_000_000


def some_length(dice: random.Random) -> int:
    """From nothing to a megabyte; most values are small, as in life."""
    if dice.random() < 0.03:
        return 0
    return int(16 * (LARGEST / 16) ** (dice.random() ** 2))


def make(number: int, format: Format, length: int) -> Any:
    """The value of a number, of about so many bytes."""
    text = _filler(number, length)
    match format:
        case "string":
            return f"{number} {text}" if length else ""
        case "bytes":
            return f"{number} {text}".encode() if length else b""
        case "npy":
            return _array(number, length)
        case "joblib":
            return {"number": number, "array": _array(number, length)}
        case "pickle":
            return ("pickled", number, text)
        case _:
            return {"number": number, "text": text}


def fault(value: Any) -> str | None:
    """What is wrong with a value; `None` if it is one that `make` has made, from end to end."""
    match value:
        case np.ndarray():
            whole = np.array_equal(value, _array(int(value[0]), value.nbytes - 8))
        case str() | bytes() if not value:
            return None
        case str() | bytes():
            text = value if isinstance(value, str) else value.decode()
            number, _, rest = text.partition(" ")
            whole = number.isdigit() and rest == _filler(int(number), len(rest))
        case {"number": number, "array": array}:
            whole = np.array_equal(array, _array(number, array.nbytes - 8))
        case ("pickled", number, text) | {"number": number, "text": text}:
            whole = text == _filler(number, len(text))
        case _:
            return f"a {type(value).__name__} that nobody has saved"
    return None if whole else f"a {type(value).__name__} that is not what was saved"


def _filler(number: int, length: int) -> str:
    return hashlib.shake_128(str(number).encode()).hexdigest((length + 1) // 2)[:length]


def _array(number: int, length: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    data = hashlib.shake_128(str(number).encode()).digest(length // 8 * 8 + 8)
    array = np.frombuffer(data, dtype=np.int64).copy()
    array[0] = number
    return array
