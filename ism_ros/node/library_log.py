"""What the packages below the node say through Python's logging, in the log of the node."""

from __future__ import annotations

import logging

from rclpy.node import Node


class LibraryLog(logging.Handler):
    """Warnings of ism_ros as warnings of `node`."""

    def __init__(self, node: Node) -> None:
        super().__init__(logging.WARNING)
        self._logger = node.get_logger()
        logging.getLogger("ism_ros").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        else:
            self._logger.warning(text)
