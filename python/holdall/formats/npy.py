"""`npy`: a numpy array in numpy's own file format, which `numpy.load` reads.

Written from the array's own memory, without a copy, if it is C- or F-contiguous; read without
pickle, so that an array file never runs code.
"""

from __future__ import annotations

import io
import math
from typing import Any, ClassVar, Final

from holdall.errors import ConfigurationError, DeserializationError, SerializationError
from holdall.formats._codec import NO_OPTIONS, Options, Parts
from holdall.formats._imports import complete

MAX_HEADER: Final = 10_000
"""Characters of a header that numpy evaluates; numpy's own limit."""

MAX_EMPTY: Final = 1 << 24
"""Items without a size that an array may have: they take no room, and each takes time."""


class NpyCodec:
    """Arrays of any shape and any type that is not Python objects."""

    name: ClassVar[str] = "npy"
    encode_options: ClassVar[frozenset[str]] = NO_OPTIONS
    decode_options: ClassVar[frozenset[str]] = NO_OPTIONS
    heavy: ClassVar[bool] = True
    keeps_memory: ClassVar[bool] = True

    def encode(self, value: Any, options: Options) -> Parts:
        """The header, and the array's own buffer as a second part."""
        numpy = _numpy()
        if isinstance(value, numpy.ma.MaskedArray):
            raise SerializationError(
                f"the format npy has no place for the mask of a {type(value).__name__}",
                "ask for the format pickle or joblib, or save value.filled()",
            )
        if not isinstance(value, numpy.ndarray):
            raise SerializationError(
                f"the format npy takes a numpy.ndarray, not {type(value).__name__}",
                "save numpy.asarray(value), or ask for the format pickle or joblib",
            )
        _check_type(numpy, value.dtype)
        if not value.itemsize and value.size > MAX_EMPTY:
            raise SerializationError(
                f"an array of {value.size} items of the type {value.dtype} holds nothing",
                "save its shape",
            )
        # A subclass (memmap, matrix) is written as the array that it is.
        array = numpy.asarray(value)
        if not (array.flags.c_contiguous or array.flags.f_contiguous):
            array = numpy.ascontiguousarray(array)
        header = _header(numpy, array)
        if array.nbytes == 0:
            return header
        return [header, memory_of(array)]

    def decode(self, data: bytes | bytearray, options: Options) -> Any:
        """A writable array; its memory is its own, or the `bytearray` that was given."""
        numpy = _numpy()
        try:
            return _read(numpy, data)
        except Exception as error:
            raise DeserializationError(
                "the stored file is not an array that can be read without pickle "
                f"({type(error).__name__})",
                "save the array again, objects with the format pickle",
            ) from error


def memory_of(array: Any) -> memoryview:
    """The memory of an array that is contiguous and not empty, as bytes, as it lies there."""
    flat = (array if array.flags.c_contiguous else array.T).reshape(-1)
    return memoryview(flat.view("u1"))


def map_file(path: str) -> Any:
    """A read-only mapping of an array file; its content is not checked, objects are refused."""
    numpy = _numpy()
    try:
        try:
            array = numpy.lib.format.open_memmap(path, mode="r", max_header_size=MAX_HEADER)
            _check_count(array.dtype, array.shape)
            return array
        except ValueError as error:
            if "empty" not in str(error):
                raise
            # Nothing to map: an array without elements, or elements without a size.
            with open(path, "rb") as file:
                return _read(numpy, file.read(MAX_HEADER + 16))
    except OSError:
        raise
    except Exception as error:
        raise DeserializationError(
            f"the stored file is not an array that can be mapped ({type(error).__name__})",
            "load it without mmap to have it checked",
        ) from error


def _check_type(numpy: Any, dtype: Any) -> None:
    """Refuses what the file format cannot tell: Python objects and types unknown to it."""
    if not dtype.hasobject:
        described = numpy.lib.format.dtype_to_descr(dtype)
        if numpy.lib.format.descr_to_dtype(described) == dtype:
            return
        cause = f"an array of the type {dtype} would come back as another type"
    else:
        cause = "an array of Python objects has no npy form that is safe to read"
    raise SerializationError(cause, "ask for the format pickle or joblib")


def _header(numpy: Any, array: Any) -> bytes:
    """The header in the oldest version that can hold it, as numpy.save chooses."""
    described = numpy.lib.format.header_data_from_array_1_0(array)
    out = io.BytesIO()
    try:
        numpy.lib.format.write_array_header_1_0(out, described)
    except ValueError:
        return _long_header(numpy, described)
    return out.getvalue()


def _long_header(numpy: Any, described: dict[str, Any]) -> bytes:
    """Versions 2 (long) and 3 (long and UTF-8), for structured types with many or foreign names."""
    out = io.BytesIO()
    try:
        numpy.lib.format.write_array_header_2_0(out, described)
        return out.getvalue()
    except UnicodeEncodeError:
        text = "".join(f"'{name}': {described[name]!r}, " for name in sorted(described))
        body = f"{{{text}}}".encode()
        padding = -(len(body) + 13) % 64
        body += b" " * padding + b"\n"
        return b"\x93NUMPY\x03\x00" + len(body).to_bytes(4, "little") + body


def _read(numpy: Any, data: bytes | bytearray) -> Any:
    # Headers are short; the rest is not copied.
    source = io.BytesIO(memoryview(data)[: MAX_HEADER + 16])
    version = numpy.lib.format.read_magic(source)
    # Version 3 differs from 2 in the encoding of field names only; the size is the same.
    read = (
        numpy.lib.format.read_array_header_1_0
        if version == (1, 0)
        else numpy.lib.format.read_array_header_2_0
    )
    shape, fortran, dtype = read(source, max_header_size=MAX_HEADER)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if any(length < 0 for length in shape):
        raise ValueError("a length is negative")
    _check_count(dtype, shape)
    start = source.tell()
    # The buffer is checked against the shape before any memory is asked for.
    order = "F" if fortran else "C"
    array = numpy.ndarray(shape, dtype, buffer=data, offset=start, order=order)
    if version == (3, 0):
        source = io.BytesIO(data)
        return numpy.lib.format.read_array(source, allow_pickle=False, max_header_size=MAX_HEADER)
    # A bytearray is nobody else's: the array keeps it for its memory.
    return array if isinstance(data, bytearray) else array.copy(order="K")


def _check_count(dtype: Any, shape: tuple[int, ...]) -> None:
    """Refuses items without a size whose number has no end: a walk through them has none."""
    if not dtype.itemsize and math.prod(shape) > MAX_EMPTY:
        raise ValueError("it claims more items than take no room")


def _numpy() -> Any:
    try:
        complete("numpy")
        import numpy
    except ImportError as error:
        raise ConfigurationError(
            "the format npy needs the package numpy",
            'install it: pip install "holdall[numpy]"',
        ) from error
    return numpy


CODEC: Final = NpyCodec()
