"""Pickles that run something when they are read: a file appears."""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def touching(path: Path, protocol: int = 4) -> bytes:
    """A pickle that makes `path`."""
    return pickle.dumps(Touch(path), protocol)


def _stacked(path: Path) -> bytes:
    return pickle.dumps([1, 2]) + touching(path)


def _hidden_in_list(path: Path) -> bytes:
    return pickle.dumps({"a": [1, (Touch(path), 2)]})


def _old_instance(path: Path) -> bytes:
    return b"(S'" + str(path).encode() + b"'\nS'w'\ni__builtin__\nopen\n."


def _global(path: Path) -> bytes:
    return b"cbuiltins\nopen\n(V" + str(path).encode() + b"\nVw\ntR."


def _evaluated(path: Path) -> bytes:
    return b"cbuiltins\neval\n(Vopen(" + repr(str(path)).encode() + b", 'w')\ntR."


def _built(path: Path) -> bytes:
    # The state of an instance is set by a call too.
    return b"cbuiltins\nexec\n(Vopen(" + repr(str(path)).encode() + b", 'w').close()\ntR0N."


def _by_copyreg(path: Path) -> bytes:
    return b"cfunctools\npartial\n(cbuiltins\nopen\nV" + str(path).encode() + b"\nVw\ntR(tR."


def _cut(path: Path) -> bytes:
    """It runs although its end is missing."""
    return touching(path, 0)[:-1]


def _followed(path: Path) -> bytes:
    return touching(path) + b"trailing bytes"


def _persistent(path: Path) -> bytes:
    return b"P" + str(path).encode() + b"\n."


def _json_first(path: Path) -> bytes:
    return json.dumps({"a": 1}).encode() + touching(path)


def _npy_objects(path: Path) -> bytes:
    import numpy

    out = io.BytesIO()
    numpy.save(out, numpy.array([Touch(path)], dtype=object), allow_pickle=True)
    return out.getvalue()


def _npy_header(path: Path) -> bytes:
    text = f"{{'descr': open({str(path)!r}, 'w'), 'fortran_order': False, 'shape': (1,)}}"
    body = text.encode() + b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body + bytes(64)


def _joblib(path: Path) -> bytes:
    import joblib

    out = io.BytesIO()
    joblib.dump(Touch(path), out)
    return out.getvalue()


def _joblib_compressed(path: Path) -> bytes:
    return zlib.compress(touching(path))


def _zip(path: Path) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("data.pkl", touching(path))
        archive.writestr("arr_0.npy", _npy_objects(path))
    return out.getvalue()


MALICIOUS: dict[str, Callable[[Path], bytes]] = {
    **{
        f"protocol {number}": lambda path, number=number: touching(path, number)
        for number in range(6)
    },
    "stacked": _stacked,
    "hidden": _hidden_in_list,
    "old instance": _old_instance,
    "global": _global,
    "evaluated": _evaluated,
    "executed": _built,
    "partial": _by_copyreg,
    "cut": _cut,
    "followed": _followed,
    "optimised": lambda path: pickletools.optimize(touching(path)),
    "persistent": _persistent,
    "after json": _json_first,
    "npy of objects": _npy_objects,
    "npy header": _npy_header,
    "joblib": _joblib,
    "joblib, compressed": _joblib_compressed,
    "zip": _zip,
}
OTHERWISE = {
    *("cut", "stacked", "old instance", "persistent", "after json", "npy of objects", "npy header"),
    *("joblib, compressed", "zip"),
}
"""Those that `pickle.load` alone does not run, or not to their end."""
