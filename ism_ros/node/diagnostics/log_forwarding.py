"""Warnings of the package's own modules, which know no ROS, in the log of the node."""

from __future__ import annotations

import logging
from collections.abc import Callable

from rclpy.impl.rcutils_logger import RcutilsLogger


class LogBridge(logging.Handler):
    """Handles what `ism_ros` logs from warnings up.

    on_reason: told (reason, text) where the record carries one of the short stable words for counting.
    """

    def __init__(self, logger: RcutilsLogger, on_reason: Callable[[str, str], None]) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger
        self._on_reason = on_reason
        package = logging.getLogger("ism_ros")
        package.addHandler(self)
        package.propagate = False  # Python would print it a second time

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        else:
            self._logger.warning(text)
        reason = getattr(record, "reason", "")
        if reason:
            self._on_reason(reason, text)
