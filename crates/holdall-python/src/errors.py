"""The exceptions that the engine raises; `holdall.errors` draws the tree and adds Python's own."""


class HoldallError(Exception):
    """The root of all errors of this package: what failed, on which key, why, and what to do.

    Attributes:
        key: The key, if the error is about one.
        operation: What was being done, a verb.
        path: The file or folder, if the error is about one.
    """

    key = None
    operation = None
    path = None

    def __str__(self):
        return str(self.args[0]) if self.args else ""

    def __reduce__(self):
        # OSError keeps its number beside the other attributes.
        number = getattr(self, "errno", None)
        state = self.__dict__ if number is None else {**self.__dict__, "errno": number}
        return type(self), self.args, state


class BlobNotFoundError(HoldallError, FileNotFoundError, KeyError):
    """There is no value under the key, or it has expired."""


class InvalidKeyError(HoldallError, ValueError):
    """The key is empty, no text, not valid UTF-8, too long or has a NUL; nothing was touched."""


class InvalidArgumentError(HoldallError, ValueError):
    """An argument is outside what is allowed; nothing was touched."""


class FormatMismatchError(HoldallError, ValueError):
    """The stored value has another format than the one asked for."""


class BlobCorruptError(HoldallError, ValueError):
    """The stored bytes are not the bytes that were saved."""


class UntrustedPayloadError(HoldallError, PermissionError):
    """The payload could run code when read, and its signature is missing or wrong."""


class ConflictError(HoldallError, FileExistsError):
    """`if_absent` or `if_match` does not hold, or two files claim one key."""


class StoreBusyError(HoldallError, TimeoutError):
    """Another process has held what is needed for longer than `lock_timeout`."""


class StorageIOError(HoldallError, OSError):
    """The operating system refused: no space, no permission, a failing disk."""


class StoreVersionError(HoldallError, RuntimeError):
    """The store was written by a release that this one does not understand."""


class StorageDisabledError(HoldallError, RuntimeError):
    """Blob storage is switched off by configuration."""


class StoreClosedError(HoldallError, RuntimeError):
    """The manager was closed."""


for _class in list(globals().values()):
    if isinstance(_class, type):
        _class.__module__ = "holdall"
