"""Logs of the server: lines for people or JSON objects for machines, each with the id of its request."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import uuid
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from datetime import datetime, timezone
from logging.handlers import QueueHandler, RotatingFileHandler
from typing import Literal

LogFormat = Literal["human", "json"]
"""Formats of the log: lines for people, or one JSON object a line."""
HUMAN_FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
"""Format of lines for people, as of `logging.Formatter`."""
ROTATED_FILES = 5
"""Full log files that are kept in addition to the one that is written."""
FORWARDED = ("name", "levelno", "levelname", "msg", "created", "msecs", "request_id")
"""What is forwarded of a log record; the extras that libraries add may not fit through a pipe."""
_USABLE_ID = re.compile(r"[\w.:-]{1,64}")

_request_id: ContextVar[str] = ContextVar("request_id", default="-")


def begin_request(client_id: str | None) -> str:
    """Give the current context the id of the request that it serves.

    Args:
        client_id: The X-Request-ID header, or None.

    Returns:
        The client's id where it is a usable one, else a new one.
    """
    request_id = client_id if client_id is not None and _USABLE_ID.fullmatch(client_id) else uuid.uuid4().hex
    _request_id.set(request_id)
    return request_id


def current_request_id() -> str:
    """Return the id of the request that the current context serves, "-" where it serves none."""
    return _request_id.get()


def set_request_ids(request_ids: Sequence[str]) -> None:
    """Attribute what the current context logs from now on to several requests.

    Args:
        request_ids: Ids of the requests of one batch.
    """
    _request_id.set(",".join(request_ids))


def configure_logging(level: str, log_format: LogFormat, file: str, file_bytes: int) -> None:
    """Send all log records to stderr or to a file.

    Args:
        level: Least level that is logged, such as "info".
        log_format: Lines for people or JSON objects.
        file: The file; empty = stderr.
        file_bytes: Size at which the file is rotated, bytes.

    Raises:
        OSError: The file cannot be written.
    """
    handler: logging.Handler = logging.StreamHandler()
    if file:
        handler = RotatingFileHandler(file, maxBytes=file_bytes, backupCount=ROTATED_FILES, encoding="utf-8")
    handler.addFilter(_add_request_id)
    handler.setFormatter(JsonFormatter() if log_format == "json" else logging.Formatter(HUMAN_FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def log_fields(**values: object) -> dict[str, dict[str, object]]:
    """Make the `extra` of a log call whose values become keys of a JSON line.

    Args:
        **values: Keys and values of the line.

    Returns:
        What to pass as `extra`.
    """
    return {"fields": values}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, request_id, message, the call's fields, and an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record.

        Args:
            record: The record.

        Returns:
            One line of JSON.
        """
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "request_id": getattr(record, "request_id", "-"),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class ForwardingHandler(QueueHandler):
    """Hands log records, with the id of their request, to the process whose log they belong into."""

    def __init__(self, send: Callable[[logging.LogRecord], object]) -> None:
        """Initialize.

        Args:
            send: Passes one record on; an OSError of it is ignored, as nobody listens any more.
        """
        super().__init__(None)  # type: ignore[arg-type]  # there is no queue: `enqueue` sends
        self._send = send
        self.addFilter(_add_request_id)
        self.setFormatter(logging.Formatter())  # the text alone: basicConfig would set one with level and name

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Make a record fit for a pipe: text and exception as one message, and no extras.

        Args:
            record: The record.

        Returns:
            A new one.
        """
        prepared = super().prepare(record)
        return logging.makeLogRecord({name: getattr(prepared, name) for name in FORWARDED})

    def enqueue(self, record: logging.LogRecord) -> None:
        """Send a record.

        Args:
            record: The record, fit to be pickled.
        """
        with contextlib.suppress(OSError):
            self._send(record)


def log_forwarded(record: logging.LogRecord) -> None:
    """Log a record that another process has sent with `ForwardingHandler`.

    Args:
        record: The record, which keeps its own request id.
    """
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def _add_request_id(record: logging.LogRecord) -> bool:
    if not hasattr(record, "request_id"):
        record.request_id = _request_id.get()
    return True
