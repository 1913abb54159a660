"""`pickle`: any Python object, protocol 5, in a file that `pickle.load` reads.

Reading a pickle can run code, so the engine hands over only bytes whose signature it has checked.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, ClassVar, Final

from holdall._core import FrameSink, FrameSource, pickle_plain
from holdall._size import MAX_BYTES, is_small
from holdall.errors import DeserializationError, HoldallError, SerializationError
from holdall.formats._codec import Options, Parts, instance
from holdall.formats._restricted import RestrictedUnpickler, checked, whole

PROTOCOL: Final = 5


class PickleCodec:
    """Python objects."""

    name: ClassVar[str] = "pickle"
    encode_options: ClassVar[frozenset[str]] = frozenset({"allow_classes"})
    decode_options: ClassVar[frozenset[str]] = frozenset({"allow_classes", "model_class"})
    heavy: ClassVar[bool] = True
    keeps_memory: ClassVar[bool] = False

    def encode(self, value: Any, options: Options) -> Parts:
        """The pickle; a large one is streamed, and other threads run at every frame of it."""
        allowed = options.get("allow_classes")
        pickler: Any = pickle.Pickler if allowed is None else checked(pickle.Pickler, allowed)
        try:
            if is_small(value):
                if allowed is None:
                    return pickle.dumps(value, PROTOCOL)
                small = io.BytesIO()
                pickler(small, PROTOCOL).dump(value)
                return small.getvalue()
            plain = pickle_plain(value)
            if plain is not None:
                return plain
            sink = FrameSink()
            pickler(sink, PROTOCOL).dump(value)
            return sink.parts()
        except (MemoryError, HoldallError):
            raise
        except Exception as error:
            raise unpicklable(self.name, value, error) from error

    def decode(self, data: bytes, options: Options) -> Any:
        """The object."""
        allowed = options.get("allow_classes")
        try:
            if allowed is not None:
                whole(data)
                source: Any = io.BytesIO(data) if len(data) <= MAX_BYTES else FrameSource(data)
                value = RestrictedUnpickler(source, allowed).load()
            elif len(data) <= MAX_BYTES:
                value = pickle.loads(data)
            else:
                value = pickle.Unpickler(FrameSource(data)).load()
        except (MemoryError, HoldallError):
            raise
        except Exception as error:
            raise unreadable(self.name, error) from error
        return instance(value, options)


def unpicklable(name: str, value: Any, error: Exception) -> SerializationError:
    """Why an object cannot be pickled; its class is named, its content is not."""
    kind = type(value).__name__
    if isinstance(error, RecursionError):
        return SerializationError(
            f"a {kind} is nested too deeply for {name}",
            "flatten it, or raise sys.setrecursionlimit",
        )
    return SerializationError(
        f"a {kind} cannot be pickled ({type(error).__name__})",
        "leave out what holds files, locks, threads or local functions",
    )


def unreadable(name: str, error: Exception) -> DeserializationError:
    """Why bytes that are whole cannot be unpickled here."""
    if isinstance(error, ImportError | AttributeError):
        return DeserializationError(
            f"the stored {name} needs a class that cannot be imported here ({error})",
            "install or restore the module that it was saved with",
        )
    return DeserializationError(
        f"the stored {name} cannot be read here ({type(error).__name__})",
        "read it with the versions that it was saved with, or save the value again",
    )


CODEC: Final = PickleCodec()
