"""Logs of the server: a line for people or a JSON object for machines, each with the id of its request."""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Sequence
from contextvars import ContextVar, copy_context
from datetime import datetime, timezone
from logging.handlers import RotatingFileHandler
from typing import Literal

LogFormat = Literal["human", "json"]
HUMAN = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
ROTATED_FILES = 5
_ID = re.compile(r"[\w.:-]{1,64}")

_request_id: ContextVar[str] = ContextVar("request_id", default="-")


def begin_request(given: str | None) -> str:
    """The id of the request that this context answers: the client's own where it is a usable one, else a new one."""
    request_id = given if given is not None and _ID.fullmatch(given) else uuid.uuid4().hex
    _request_id.set(request_id)
    return request_id


def current_request() -> str:
    """The id of the request that this context answers."""
    return _request_id.get()


def answer_requests(request_ids: Sequence[str]) -> None:
    """What this context logs from now on is about all of these."""
    _request_id.set(",".join(request_ids))


def log_for(request_ids: str, level: int, name: str, text: str) -> None:
    """A line that another process has to say about these requests."""

    def log() -> None:
        _request_id.set(request_ids)
        logging.getLogger(name).log(level, "%s", text)

    copy_context().run(log)


def set_up_logs(level: str, log_format: LogFormat, file: str, file_bytes: int) -> None:
    """Sends everything that is logged to stderr, or to `file`, which is rotated at `file_bytes`. Raises OSError."""
    handler: logging.Handler = logging.StreamHandler()
    if file:
        handler = RotatingFileHandler(file, maxBytes=file_bytes, backupCount=ROTATED_FILES, encoding="utf-8")
    handler.addFilter(_with_request_id)
    handler.setFormatter(JsonLines() if log_format == "json" else logging.Formatter(HUMAN))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def fields(**values: object) -> dict[str, dict[str, object]]:
    """`extra` of a log call: what stands as keys of its own in a JSON line."""
    return {"fields": values}


class JsonLines(logging.Formatter):
    """One object a line: time (UTC), level, logger, request_id, message, the call's fields, and an exception."""

    def format(self, record: logging.LogRecord) -> str:
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


def _with_request_id(record: logging.LogRecord) -> bool:
    record.request_id = _request_id.get()
    return True
