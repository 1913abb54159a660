"""Where settings come from: argument, environment, `.env` of the working directory, default.

Nothing is read when a manager is made; it is read once, when the manager first needs it.
"""

from __future__ import annotations

import os
from pathlib import Path

from holdall._core import HoldallError, Settings, resolve_settings
from holdall._logging import configure
from holdall.errors import ConfigurationError


def load_settings() -> Settings:
    """Reads the environment and `.env` now, and sets the level of the logger if they say so.

    Touches the disk: one small file.

    Raises:
        ConfigurationError: A value is not allowed, or `.env` cannot be read.
    """
    try:
        settings = resolve_settings(os.environ, _dotenv(Path(".env")))
    except HoldallError as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(str(error)) from error
    configure(settings)
    return settings


def _dotenv(path: Path) -> str | None:
    """The text of the file; `None` if there is no such file."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f".env cannot be read ({type(error).__name__})",
            "make it readable UTF-8, or start the program in another directory",
        ) from error
