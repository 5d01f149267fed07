"""Forwards warnings of the modules that know no ROS to the log of the node and to its event log."""

from __future__ import annotations

import logging

from ism_ros.node.event_log import EventLog, Logger


class LogForwarder(logging.Handler):
    """Handler for the log records of package `ism_ros`, of which those from WARNING up are logged.

    A record with the attribute `reason`, a short stable word, is counted under it, whatever its level.
    """

    def __init__(self, logger: Logger, events: EventLog) -> None:
        """Attach to the package's logger.

        Args:
            logger: The node's logger.
            events: Counts records that carry a reason.
        """
        super().__init__(logging.DEBUG)
        self._logger = logger
        self._events = events
        package = logging.getLogger("ism_ros")
        package.addHandler(self)
        package.setLevel(logging.DEBUG)  # what was warned of before is counted all the same
        package.propagate = False  # Python would print it a second time

    def emit(self, record: logging.LogRecord) -> None:
        """Forward one record."""
        text = record.getMessage()
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        reason = getattr(record, "reason", "")
        if reason:
            self._events.count_event(reason, text)
