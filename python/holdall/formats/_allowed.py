"""Which classes a pickle may name: a second wall, behind the signature.

Names are exact. A prefix such as `"numpy."` would open whatever lies below it, and with that some
function that runs code: there is none that means many names. What is allowed may be called with
any arguments and be given any state, so whoever allows a class vouches for its `__init__`,
`__new__`, `__reduce__` and `__setstate__`. No wall keeps a pickle from taking memory or time.
"""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn

from holdall.errors import InvalidArgumentError, PickleRefusedError
from holdall.formats._codec import is_class

BASE: Final = frozenset(
    f"{module}.{name}"
    for module, names in {
        "builtins": "bool int float complex str bytes bytearray list tuple dict set frozenset "
        "range slice object Ellipsis NotImplemented",
        "collections": "Counter OrderedDict defaultdict deque",
        "copyreg": "_reconstructor",
        "datetime": "date datetime time timedelta timezone",
        "decimal": "Decimal",
        "pathlib": "PosixPath PurePosixPath PureWindowsPath",
        "pathlib._local": "PosixPath PurePosixPath PureWindowsPath",
        "uuid": "UUID",
        "zoneinfo": "ZoneInfo ZoneInfo._unpickle",
    }.items()
    for name in names.split()
)
"""What is always allowed: values, and nothing that looks beyond its arguments."""

_ARRAYS: Final = frozenset(
    {"numpy.dtype", "joblib.numpy_pickle.NumpyArrayWrapper"}
    | {
        f"numpy.{core}.{name}"
        for core in ("core", "_core")
        for name in ("multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer")
    }
)

COMPANIONS: Final[Mapping[str, frozenset[str]]] = {"numpy.ndarray": _ARRAYS}
"""What the pickles of a class name besides the class."""

_ONLY_FOR: Final = {
    companion: owner
    for owner, companions in COMPANIONS.items()
    for companion in companions - {"numpy.dtype"}
}
"""Names that nobody writes down: what they are there for is what is to be allowed."""

_OLD: Final = {"__builtin__": "builtins", "copy_reg": "copyreg"}
"""The names in protocols 0 to 2, which Python 3 writes too."""


class Allowed:
    """The classes and functions that a pickle may name."""

    def __init__(self, given: Iterable[type | str]) -> None:
        """Takes classes and exact names like `"package.module.Class"`.

        Raises:
            InvalidArgumentError: Something is neither, or a name is not exact.
        """
        if isinstance(given, str | bytes | type) or not isinstance(given, Iterable):
            raise _wrong("allow_classes is not an iterable of classes and names")
        self._classes: dict[str, type] = {}
        names = set(BASE)
        for item in given:
            name = _name(item)
            if is_class(item):
                self._classes[name] = item
            names |= {name} | COMPANIONS.get(name, frozenset())
        self._names = frozenset(names)

    def find(self, module: str, name: str) -> Any:
        """What a pickle asks for by `module` and `name`, if it is allowed.

        Raises:
            PickleRefusedError: It is not.
        """
        module = _OLD.get(module, module)
        if module == "builtins" and name == "xrange":
            name = "range"
        full = f"{module}.{name}"
        if full == "builtins.getattr":
            return self._attribute
        if full == "_codecs.encode":
            return _latin
        if full in self._classes:
            return self._classes[full]
        if full not in self._names:
            refuse(full)
        return _found(module, name)

    def permit(self, found: type | Callable[..., Any], full: str) -> None:
        """Has a save end here if what it names could not be named by a load.

        Raises:
            PickleRefusedError: It could not.
        """
        replaced = ("builtins.getattr", "_codecs.encode")
        if full not in self._names and full not in replaced:
            refuse(full)
        if self._classes.get(full, found) is not found:
            refuse(full, f"another class than the {full} of allow_classes has that name")

    def _attribute(self, owner: object, name: str) -> Any:
        """`getattr` as far as it is allowed: of a class, an attribute that is named itself."""
        full = f"{owner.__module__}.{owner.__qualname__}" if isinstance(owner, type) else ""
        if f"{full}.{name}" not in self._names:
            refuse(f"{full}.{name}" if full else "builtins.getattr")
        return getattr(owner, name)


def refuse(full: str, cause: str | None = None) -> NoReturn:
    """The error for something that is not allowed."""
    wanted = _ONLY_FOR.get(full, full)
    named = full[:200] if wanted is full else f"{full[:200]} for a {wanted}"
    raise PickleRefusedError(
        cause or f"the pickle names {named}, which allow_classes does not have",
        f"add {'it' if wanted is full else wanted} to allow_classes if you trust it with any"
        " arguments, or save plain data",
        name=wanted,
    )


def _found(module: str, name: str) -> Any:
    """What has this name: no module, and nothing reached by way of one or of an object."""
    found: Any = importlib.import_module(module)
    for depth, part in enumerate(name.split(".")):
        if depth and not isinstance(found, type):
            refuse(f"{module}.{name}")
        found = getattr(found, part)
    if isinstance(found, types.ModuleType):
        refuse(f"{module}.{name}")
    return found


def _latin(text: str, encoding: str) -> bytes:
    """How protocols 0 to 2 write bytes; `codecs.encode` itself would import what it is told."""
    if encoding != "latin1" or not isinstance(text, str):
        refuse("_codecs.encode")
    return text.encode("latin1")


def _name(item: object) -> str:
    if is_class(item):
        name = f"{item.__module__}.{item.__qualname__}"
    elif isinstance(item, str):
        name = item
    else:
        raise _wrong(f"allow_classes has a {type(item).__name__}, which is no class and no name")
    parts = name.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise _wrong(f"allow_classes has {name[:100]!r}, which is not the name of one class")
    return name


def _wrong(cause: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f'{cause}; give classes and exact names like "package.module.Class", without patterns'
    )
