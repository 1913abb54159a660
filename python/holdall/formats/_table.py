"""The one table of formats, and the choice from it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from holdall.errors import OptionError, UnknownFormatError
from holdall.formats import bytes as _bytes
from holdall.formats import custom_json as _custom_json
from holdall.formats import joblib as _joblib
from holdall.formats import json as _json
from holdall.formats import npy as _npy
from holdall.formats import pickle as _pickle
from holdall.formats import string as _string
from holdall.formats._codec import Codec, Options

FORMATS: Final[Mapping[str, Codec]] = {
    codec.name: codec
    for codec in (
        _json.CODEC,
        _custom_json.CODEC,
        _pickle.CODEC,
        _joblib.CODEC,
        _string.CODEC,
        _bytes.CODEC,
        _npy.CODEC,
    )
}
"""Every format by its name."""

ALIASES: Final[Mapping[str, str]] = {"text": "string"}
"""Other words for a format."""

_JSON_TYPES: Final = (dict, list, tuple, bool, int, float, type(None))


def find(name: str) -> Codec:
    """The format of that name, or of that alias.

    Raises:
        UnknownFormatError: There is none; the message names those there are.
    """
    codec = FORMATS.get(name) if isinstance(name, str) else None
    if codec is not None:
        return codec
    codec = FORMATS.get(ALIASES.get(name, "")) if isinstance(name, str) else None
    if codec is None:
        allowed = ", ".join((*FORMATS, *ALIASES))
        what = repr(name[:40]) if isinstance(name, str) else f"a {type(name).__name__}"
        raise UnknownFormatError(f"{what} is not a format", f"use one of {allowed}")
    return codec


def codec_for(value: Any) -> Codec:
    """The format for a value when none was asked for: one that is safe to read back.

    >>> codec_for({"a": 1}).name, codec_for("text").name, codec_for(b"raw").name
    ('json', 'string', 'bytes')

    Raises:
        UnknownFormatError: No safe format takes it; the message names those to ask for.
    """
    kind = type(value)
    if issubclass(kind, str):
        return _string.CODEC
    if issubclass(kind, bytes | bytearray | memoryview):
        return _bytes.CODEC
    if issubclass(kind, _JSON_TYPES) or _json.is_typed(kind):
        return _json.CODEC
    numpy = sys.modules.get("numpy")
    if numpy is not None and issubclass(kind, numpy.ndarray) and not value.dtype.hasobject:
        return _npy.CODEC
    raise UnknownFormatError(
        f"no format is chosen by itself for the type {kind.__name__}",
        'ask for format="pickle" or format="joblib" (Python objects), '
        'or format="custom_json" with a custom_encoder',
    )


def taken(codec: Codec, options: Options, allowed: frozenset[str]) -> dict[str, Any]:
    """The options that were given, if the format takes them all.

    Raises:
        OptionError: It does not; the message names those that it takes.
    """
    if not options:
        return {}
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in allowed:
            takes = ", ".join(sorted(allowed)) or "no options"
            others = [
                c.name for c in FORMATS.values() if name in c.encode_options | c.decode_options
            ]
            raise OptionError(
                f"the format {codec.name} does not take {name}",
                f"it takes {takes}" + (f"; {name} is for {', '.join(others)}" if others else ""),
            )
    return given
