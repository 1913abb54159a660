"""joblib files read under `allow_classes`: also the pickles that lie inside of them.

joblib's own reader unpickles arrays of objects with `pickle.load`, and opens files that a file
names; here neither happens.
"""

from __future__ import annotations

import functools
import io
import pickle
from typing import Any, NoReturn

from holdall.formats._allowed import Allowed
from holdall.formats._joblib_arrays import STATE, classes
from holdall.formats._restricted import RestrictedUnpickler, end_of, refuse_opcode


def load(data: bytes | bytearray, allowed: Allowed) -> Any:
    """The object of an uncompressed file."""
    if not data.startswith(pickle.PROTO):
        refuse_opcode("it was compressed by joblib, or is of an old protocol")
    memory = data if isinstance(data, bytearray) else bytearray(data)
    unpickler = _unpickler()(memory, allowed)
    value = unpickler.load()
    if unpickler.file_handle.tell() != len(memory):
        refuse_opcode("something follows it")
    return value


@functools.cache
def _unpickler() -> Any:
    """The class, made when joblib is there."""
    import numpy

    made = classes()
    if made is None:
        refuse_opcode("this version of joblib is not known well enough")
    base = made[1]
    wrapper = __import__("joblib.numpy_pickle", fromlist=["_"]).NumpyArrayWrapper

    class RestrictedArrayUnpickler(base):  # type: ignore[misc,valid-type]  # joblib has no types
        dispatch = base.dispatch.copy()

        def __init__(self, memory: bytearray, allowed: Allowed) -> None:
            super().__init__(memory)
            self._allowed = allowed

        def find_class(self, module: str, name: str) -> Any:
            return self._allowed.find(module, name)

        def persistent_load(self, pid: Any) -> NoReturn:
            refuse_opcode("it has persistent ids")

        def get_extension(self, code: int) -> NoReturn:
            refuse_opcode("it names a class by an extension code")

        def load_build(self) -> None:
            state, target = self.stack[-1], self.stack[-2]
            if type(target) is not wrapper:
                if isinstance(target, type) or callable(target):
                    refuse_opcode("it changes a class or function instead of an object")
                super().load_build()
                return
            if not isinstance(state, dict) or state.keys() != STATE:
                refuse_opcode("it has an array of an unknown kind")
            if state["subclass"] is not numpy.ndarray or type(state["dtype"]) not in _dtypes():
                refuse_opcode("it has an array of an unknown kind")
            if not state["dtype"].hasobject:
                super().load_build()
                return
            # In their place joblib has another pickle.
            del self.stack[-1]
            self.stack[-1] = self._nested()

        dispatch[pickle.BUILD[0]] = load_build

        def _nested(self) -> Any:
            begin = self.file_handle.tell()
            data = bytes(self._memory)
            end = end_of(data, begin)
            found = RestrictedUnpickler(io.BytesIO(data[begin:end]), self._allowed).load()
            self.file_handle.seek(end)
            if type(found) is not numpy.ndarray:
                refuse_opcode("it has something else in the place of an array")
            return found

    return RestrictedArrayUnpickler


@functools.cache
def _dtypes() -> frozenset[type]:
    """The classes of data types: one for all, and since numpy 1.20 one for each kind."""
    import numpy

    kinds = {type(numpy.dtype(kind)) for kind in "?bhilqpBHILQPefdgFDGSUVOMm"}
    return frozenset(kinds | {numpy.dtype})
