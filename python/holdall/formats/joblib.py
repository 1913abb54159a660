"""`joblib`: arrays, models and whatever holds them, uncompressed, in a file `joblib.load` reads.

Reading it can run code, as a pickle can, so it is signed and checked like one.
"""

from __future__ import annotations

import io
from typing import Any, ClassVar, Final

from holdall.errors import ConfigurationError
from holdall.formats._codec import NO_OPTIONS, Options, Parts, instance
from holdall.formats.pickle import PROTOCOL, unpicklable, unreadable


class JoblibCodec:
    """Scientific data."""

    name: ClassVar[str] = "joblib"
    encode_options: ClassVar[frozenset[str]] = NO_OPTIONS
    decode_options: ClassVar[frozenset[str]] = frozenset({"model_class"})
    heavy: ClassVar[bool] = True

    def encode(self, value: Any, options: Options) -> Parts:
        """The parts as joblib wrote them, not joined; never in joblib's own compression."""
        joblib = _joblib()
        sink = _Sink()
        try:
            joblib.dump(value, sink, compress=0, protocol=PROTOCOL)
        except MemoryError:
            raise
        except Exception as error:
            raise unpicklable(self.name, value, error) from error
        return sink.parts

    def decode(self, data: bytes, options: Options) -> Any:
        """The object; files that joblib itself wrote are read too, compressed or not."""
        joblib = _joblib()
        try:
            value = joblib.load(io.BytesIO(data))
        except MemoryError:
            raise
        except Exception as error:
            raise unreadable(self.name, error) from error
        return instance(value, options)


class _Sink:
    """The file object that joblib writes to; it asks for the position, to align arrays."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self._position = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        # A view is valid during the call only.
        part = data if type(data) is bytes else bytes(data)
        self.parts.append(part)
        self._position += len(part)
        return len(part)

    def tell(self) -> int:
        return self._position


def _joblib() -> Any:
    try:
        import joblib
    except ImportError as error:
        raise ConfigurationError(
            "the format joblib needs the package joblib",
            'install it (pip install "holdall[joblib]"), or ask for the format pickle',
        ) from error
    return joblib


CODEC: Final = JoblibCodec()
