"""The formats: one file each, and one table; a new format is a new file and a line in `_table.py`.

Importing this package imports neither numpy nor joblib nor pydantic.
"""

from __future__ import annotations

from holdall.formats._allowed import Allowed
from holdall.formats._codec import Codec, Options, Parts
from holdall.formats._table import ALIASES, FORMATS, codec_for, find, taken

__all__ = [
    "ALIASES",
    "FORMATS",
    "Allowed",
    "Codec",
    "Options",
    "Parts",
    "codec_for",
    "find",
    "taken",
]
