"""The logger `holdall`: keys are escaped and cut, values are never logged, no handler is added."""

from __future__ import annotations

import logging
from typing import Final

from holdall._core import Settings, drain_logs, set_log_level
from holdall.errors import ConfigurationError

LOGGER: Final = logging.getLogger("holdall")
LOGGER.addHandler(logging.NullHandler())

_TAKEN: Final = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime"})
"""Attributes that a record has of its own."""


def configure(settings: Settings) -> None:
    """Sets this logger's level, if `LOG_LEVEL` or `LOG_DEBUG_ENABLED` is set, and tells the engine.

    The engine formats only events of the level that the logger has now.
    """
    if settings.log_debug_enabled:
        LOGGER.setLevel(logging.DEBUG)
    elif settings.log_level:
        try:
            LOGGER.setLevel(settings.log_level.upper())
        except ValueError:
            raise ConfigurationError(
                f"LOG_LEVEL={settings.log_level!r} is not a level of logging",
                "use one of DEBUG, INFO, WARNING, ERROR, CRITICAL",
            ) from None
    set_log_level(LOGGER.getEffectiveLevel())


def forward() -> None:
    """Hands the events that the engine collected to the loggers below `holdall`.

    The fields of an event, such as `operation`, `key_hash`, `bytes` and `micros`, are attributes of
    the record.
    """
    for level, target, message, fields in drain_logs():
        name = target.replace("::", ".")
        logger = logging.getLogger(name if name.startswith("holdall") else f"holdall.{name}")
        extra = {field: given for field, given in fields.items() if field not in _TAKEN}
        logger.log(level, "%s", message, extra=extra)
