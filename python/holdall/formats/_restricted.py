"""Picklers and unpicklers that keep to `allow_classes`."""

from __future__ import annotations

import pickle
import types
from typing import Any, Final, NoReturn

from holdall._core import pickle_end
from holdall.errors import PickleRefusedError
from holdall.formats._allowed import Allowed, refuse

_NAMED: Final = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType)
"""What a pickle names instead of describing it."""


def permit(allowed: Allowed, obj: Any) -> None:
    """An error if `obj` would be pickled by a name that is not allowed."""
    if not isinstance(obj, _NAMED):
        return
    owner = None if isinstance(obj, type) else getattr(obj, "__self__", None)
    if owner is None or isinstance(owner, types.ModuleType):
        module = pickle.whichmodule(obj, obj.__qualname__)  # type: ignore[attr-defined]  # typeshed
        allowed.permit(obj, f"{module}.{obj.__qualname__}")
    elif isinstance(owner, type):
        allowed.permit(obj, f"{owner.__module__}.{owner.__qualname__}.{obj.__name__}")
    else:
        refuse(f"{type(owner).__module__}.{type(owner).__qualname__}.{obj.__name__}")


def checked(base: type, allowed: Allowed) -> Any:
    """A pickler like `base` that keeps to what is allowed."""
    return type("CheckedPickler", (base,), {"reducer_override": _override(allowed)})


def _override(allowed: Allowed) -> Any:
    def reducer_override(_: Any, obj: Any) -> Any:
        permit(allowed, obj)
        return NotImplemented

    return reducer_override


class RestrictedUnpickler(pickle.Unpickler):
    """Finds what is allowed, and nothing else."""

    def __init__(self, source: Any, allowed: Allowed) -> None:
        """Reads from a file object."""
        super().__init__(source)
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        """What is allowed."""
        return self._allowed.find(module, name)

    def persistent_load(self, pid: Any) -> NoReturn:
        """Nothing."""
        refuse_opcode("it has persistent ids")


def end_of(data: bytes, start: int = 0) -> int:
    """Where the pickle that begins at `start` ends, looked through before any of it is done."""
    try:
        return pickle_end(data, start)
    except ValueError as error:
        refuse_opcode(str(error))


def whole(data: bytes) -> None:
    """Refuses what is not one plain pickle from the first byte to the last."""
    if end_of(data) != len(data):
        refuse_opcode("something follows it")


def refuse_opcode(cause: str) -> NoReturn:
    """The error for a pickle that does what `allow_classes` has no name for."""
    raise PickleRefusedError(
        f"the pickle is not one that allow_classes takes: {cause}",
        "load it with a manager without allow_classes if you would also execute it",
        name=None,
    )
