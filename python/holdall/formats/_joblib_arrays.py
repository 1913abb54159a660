"""joblib's pickler and unpickler without their copies of large arrays.

The bytes are the same: that is tried once, and where it does not hold, joblib does it all.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import io
import pickle
from typing import Any, Final

from holdall.formats._imports import complete

LEAST: Final = 64 * 1024
"""Bytes of an array from which on its memory is lent instead of copied."""

STATE: Final = frozenset(
    {"subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes"}
)
"""What joblib says of an array."""


class Written:
    """The file object that joblib writes to: it keeps what it is given, and lends arrays."""

    def __init__(self) -> None:
        """Nothing was written."""
        self.parts: list[bytes | memoryview] = []
        self._position = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Takes bytes."""
        # A view is valid during the call only.
        part = data if type(data) is bytes else bytes(data)
        self.parts.append(part)
        self._position += len(part)
        return len(part)

    def lend(self, data: memoryview) -> None:
        """Takes the memory of an array as it is."""
        self.parts.append(data)
        self._position += data.nbytes

    def tell(self) -> int:
        """The position, to which joblib aligns arrays."""
        return self._position


class Memory(io.RawIOBase):
    """A file that is read from memory, without a copy of the whole."""

    def __init__(self, data: bytearray) -> None:
        """At the beginning."""
        self._data = memoryview(data)
        self._position = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Copies the next bytes."""
        count = max(0, min(len(buffer), len(self._data) - self._position))
        buffer[:count] = self._data[self._position : self._position + count]
        self._position += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._data)}
        self._position = max(0, start[whence] + offset)
        return self._position

    def tell(self) -> int:
        """Where."""
        return self._position


@functools.cache
def classes() -> tuple[Any, Any] | None:
    """A pickler and an unpickler for this version of joblib; `None` if it works differently."""
    try:
        made = _pickler(), _unpickler()
        return made if _agree(*made) else None
    except Exception:
        return None


def _pickler() -> Any:
    import numpy

    from holdall.formats.npy import memory_of

    complete("joblib.numpy_pickle")
    joblib = importlib.import_module("joblib.numpy_pickle")

    class ArrayPickler(joblib.NumpyPickler):  # type: ignore[misc,name-defined]  # joblib has no types
        least = LEAST

        def save(self, obj: Any) -> None:
            if (
                type(obj) is not numpy.ndarray
                or obj.dtype.hasobject
                or obj.nbytes < self.least
                or not (obj.flags.c_contiguous or obj.flags.f_contiguous)
            ):
                super().save(obj)
                return
            wrapper = self._create_array_wrapper(obj)
            super().save(wrapper)
            self.framer.commit_frame(force=True)
            alignment = wrapper.safe_get_numpy_array_alignment_bytes()
            padding = alignment - (self.file_handle.tell() + 1) % alignment
            self.file_handle.write(bytes([padding]) + b"\xff" * padding)
            self.file_handle.lend(memory_of(obj))

    return ArrayPickler


def _unpickler() -> Any:
    import numpy

    complete("joblib.numpy_pickle")
    joblib = importlib.import_module("joblib.numpy_pickle")
    # As joblib.load asks for it, where it can be asked for.
    takes = inspect.signature(joblib.NumpyUnpickler).parameters
    native = {"ensure_native_byte_order": True} if "ensure_native_byte_order" in takes else {}

    class ArrayUnpickler(joblib.NumpyUnpickler):  # type: ignore[misc,name-defined]  # joblib has no types
        dispatch = joblib.NumpyUnpickler.dispatch.copy()
        least = LEAST

        def __init__(self, data: bytearray) -> None:
            super().__init__("", io.BufferedReader(Memory(data)), **native)
            self._memory = data

        def load_build(self) -> None:
            state = self.stack[-1]
            if type(self.stack[-2]) is not joblib.NumpyArrayWrapper or not self._is_plain(state):
                super().load_build()
                return
            del self.stack[-1]
            self.stack[-1] = self._array(state)

        dispatch[pickle.BUILD[0]] = load_build

        def _is_plain(self, state: Any) -> bool:
            return (
                isinstance(state, dict)
                and state.keys() == STATE
                and state["subclass"] is numpy.ndarray
                and isinstance(state["dtype"], numpy.dtype)
                and state["dtype"].isnative
                and not state["dtype"].hasobject
                and bool(state["numpy_array_alignment_bytes"])
            )

        def _array(self, state: dict[str, Any]) -> Any:
            (padding,) = self.file_handle.read(1)
            begin = self.file_handle.tell() + padding
            # The memory is checked against the shape before anything is made of it.
            array: Any = numpy.ndarray(
                state["shape"], state["dtype"], self._memory, begin, order=state["order"]
            )
            self.file_handle.seek(begin + array.nbytes)
            # What an array keeps is all of the memory: at most twice its own.
            if array.nbytes >= self.least and array.nbytes * 2 >= len(self._memory):
                return array
            return array.copy(order="K")

    return ArrayUnpickler


def _agree(pickler: Any, unpickler: Any) -> bool:
    """Whether both do what joblib does, on every kind of array."""
    import joblib
    import numpy

    table = numpy.arange(12, dtype=numpy.float64).reshape(3, 4)
    sample = {
        "c": table,
        "fortran": table.T,
        "gaps": table[:, ::2],
        "empty": table[:0],
        "alone": numpy.array(7, dtype=numpy.uint8),
        "swapped": numpy.arange(5, dtype=">i4"),
        "times": numpy.arange(3).astype("M8[s]"),
        "pairs": numpy.zeros(4, dtype=[("x", "i2"), ("y", "f8")]),
        "objects": numpy.array([1, "a"], dtype=object),
        "twice": [table, table],
    }
    theirs, ours = io.BytesIO(), Written()
    joblib.dump(sample, theirs, protocol=pickle.HIGHEST_PROTOCOL)
    eager = type("EagerPickler", (pickler,), {"least": 0})
    eager(ours, protocol=pickle.HIGHEST_PROTOCOL).dump(sample)
    if b"".join(ours.parts) != theirs.getvalue():
        return False
    eager = type("EagerUnpickler", (unpickler,), {"least": 0})
    got = eager(bytearray(theirs.getvalue())).load()
    wanted = joblib.load(io.BytesIO(theirs.getvalue()))
    return repr(got) == repr(wanted) and all(
        got[name].dtype == wanted[name].dtype
        and got[name].flags.c_contiguous == wanted[name].flags.c_contiguous
        for name in sample
        if name != "twice"
    )
