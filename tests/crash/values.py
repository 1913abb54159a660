"""Values that say what they are: key, seq, format and checksum, in all formats of holdall."""

from __future__ import annotations

import datetime
import hashlib

import joblib  # noqa: F401  (before any fork, so that no worker waits for it)
import numpy

FORMATS = ("json", "string", "bytes", "pickle", "joblib", "npy", "custom_json")
# Most are small; some are large enough for the ways that large values take.
SIZES = (0, 10, 300, 300, 2_000, 5_000, 5_000, 40_000, 200_000, 900_000)
LARGEST = 4_000_000
WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5)


def make(key, seq, format, size, rng):
    """A value, and the sha256 by which it is known."""
    # Every other one can be compressed.
    word = rng.randbytes(min(size, 60) if rng.random() < 0.5 else size // 2).hex()
    body = (word * (size // len(word) + 1))[:size] if word else ""
    checksum = hashlib.sha256(body.encode()).hexdigest()
    text = f"{key} {seq} {format} {checksum}\n{body}"
    return _wrap(text, format), _sha(text)


def read(key, value):
    """(seq, sha) of a value, or `None` if it is not one whole value of this key."""
    try:
        text = _unwrap(value)
        head, _, body = text.partition("\n")
        name, seq, format, checksum = head.split(" ")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    is_whole = name == key and checksum == hashlib.sha256(body.encode()).hexdigest()
    return (seq, _sha(text)) if is_whole and _same(value, _wrap(text, format)) else None


def _sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def _wrap(text, format):
    match format:
        case "string":
            return text
        case "bytes":
            return text.encode()
        case "json":
            return {"text": text, "n": [1, None, True]}
        case "custom_json":
            return {"text": text, "when": WHEN}
        case "pickle":
            return {"text": text, "set": {1, 2}}
        case "joblib":
            return {"array": _array(text), "more": (1, 2)}
        case "npy":
            return _array(text)
    raise ValueError(format)


def _unwrap(value):
    match value:
        case str():
            return value
        case bytes():
            return value.decode()
        case {"text": text}:
            return text
        case {"array": array}:
            return array.tobytes().decode()
    return value.tobytes().decode()


def _array(text):
    return numpy.frombuffer(text.encode(), numpy.uint8)


def _same(value, expected):
    """Whether nothing else of the value has changed on its way."""
    if type(value) is not type(expected):
        return False
    if isinstance(value, dict):
        # The encoder of `custom_json` makes text of a time; memory has the time itself.
        rest = {name: part for name, part in value.items() if name not in ("text", "array")}
        other = {name: part for name, part in expected.items() if name not in ("text", "array")}
        return rest in (other, {name: str(part) for name, part in other.items()})
    return True
