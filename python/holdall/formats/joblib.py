"""`joblib`: arrays, models and whatever holds them, uncompressed, in a file `joblib.load` reads.

Reading it can run code, as a pickle can, so it is signed and checked like one.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, ClassVar, Final

from holdall.errors import ConfigurationError, HoldallError
from holdall.formats import _joblib_allowed
from holdall.formats._codec import Options, Parts, instance
from holdall.formats._imports import complete
from holdall.formats._joblib_arrays import Written, classes
from holdall.formats._restricted import checked
from holdall.formats.pickle import PROTOCOL, unpicklable, unreadable

PROTO: Final = pickle.PROTO
"""What an uncompressed file of joblib begins with."""


class JoblibCodec:
    """Scientific data."""

    name: ClassVar[str] = "joblib"
    encode_options: ClassVar[frozenset[str]] = frozenset({"allow_classes"})
    decode_options: ClassVar[frozenset[str]] = frozenset({"allow_classes", "model_class"})
    heavy: ClassVar[bool] = True
    keeps_memory: ClassVar[bool] = True

    def encode(self, value: Any, options: Options) -> Parts:
        """The parts as joblib writes them, not joined; of a large array, its own memory.

        Never in joblib's own compression.
        """
        joblib = _joblib()
        sink = Written()
        made = classes()
        allowed = options.get("allow_classes")
        try:
            if made is None:
                joblib.dump(value, sink, compress=0, protocol=PROTOCOL)
            else:
                pickler = made[0] if allowed is None else checked(made[0], allowed)
                pickler(sink, protocol=PROTOCOL).dump(value)
        except (MemoryError, HoldallError):
            raise
        except Exception as error:
            raise unpicklable(self.name, value, error) from error
        return sink.parts

    def decode(self, data: bytes | bytearray, options: Options) -> Any:
        """The object; files that joblib itself wrote are read too, compressed or not."""
        joblib = _joblib()
        allowed = options.get("allow_classes")
        try:
            if allowed is not None:
                return instance(_joblib_allowed.load(data, allowed), options)
            made = classes() if type(data) is bytearray and data.startswith(PROTO) else None
            value = joblib.load(io.BytesIO(data)) if made is None else made[1](data).load()
        except (MemoryError, HoldallError):
            raise
        except Exception as error:
            raise unreadable(self.name, error) from error
        return instance(value, options)


def _joblib() -> Any:
    try:
        complete("joblib")
        import joblib
    except ImportError as error:
        raise ConfigurationError(
            "the format joblib needs the package joblib",
            'install it (pip install "holdall[joblib]"), or ask for the format pickle',
        ) from error
    return joblib


CODEC: Final = JoblibCodec()
