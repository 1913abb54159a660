"""How a message is put: operation, key, cause and next step, in one sentence."""

from __future__ import annotations

from typing import TypeVar

from holdall._core import HoldallError

_SHOWN_CHARACTERS = 120

NativeError = TypeVar("NativeError", bound=HoldallError)


def shown(key: object) -> str:
    r"""A key as messages and logs show it: escaped, and cut at 120 characters.

    >>> print(shown("a\nb"))
    "a\nb"
    """
    if not isinstance(key, str):
        return f"<{type(key).__name__}>"
    head = key[:_SHOWN_CHARACTERS].replace("\\", "\\\\").replace('"', '\\"')
    if not head.isprintable():
        head = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in head)
    return f'"{head}"' + ("..." if len(key) > _SHOWN_CHARACTERS else "")


def sentence(
    cause: str, remedy: str | None = None, *, operation: str | None = None, key: object = None
) -> str:
    """The sentence that an error shows."""
    what = " ".join(
        part
        for part in (
            f"could not {operation}" if operation else "",
            shown(key) if key is not None else "",
        )
        if part
    )
    return (f"{what}: " if what else "") + cause + (f"; {remedy}" if remedy else "")


def told(
    kind: type[NativeError],
    cause: str,
    remedy: str | None = None,
    *,
    operation: str | None = None,
    key: object = None,
) -> NativeError:
    """An error of a native class, with the attributes that the extension gives its own."""
    error = kind(sentence(cause, remedy, operation=operation, key=key))
    error.operation = operation
    error.key = key if isinstance(key, str) else None
    error.path = None
    return error


def not_copied(manager: object) -> TypeError:
    """Why a manager cannot be pickled or copied, and what to do."""
    # Those below `holdall.sync` are kinds of the awaited ones.
    names = [kind.__name__ for kind in type(manager).__mro__]
    name = next(name for name in names if name != "Blocking")
    return TypeError(
        f"a {name} cannot be pickled or copied: it stands for an open store or a memory of this "
        "process; make another one with the same arguments there, on the same folder if it has one"
    )
