"""Templates built in a process of its own, of low priority.

Rendering takes seconds of Python, during which the threads of one process would wait for each other, and a CAD file
that crashes its reader takes nothing else along.

The two processes exchange pickles: a request on the child's stdin, which stays open for as long as the parent lives; on
its stdout any number of ("progress", (done, total)), ("warning", (reason, text)) and ("not_written", (folder, cause)),
then one ("result", ObjectTemplates) or ("error", exception).
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_builder import ObjectTemplates, Progress, build_templates
from ism_ros.runtime.cache_folder import warn_not_written
from ism_ros.runtime.threads import PASSIVE_WAIT_ENV

NICENESS = 5
"""Niceness of processes that render while frames are segmented; at 10 a busy machine would hardly render at all."""

logger = logging.getLogger(__name__)


class TemplateProcessError(ValueError):
    """A process that ended without a result; the message is one line that says why, as far as that is known."""


class TemplateProcessStoppedError(RuntimeError):
    """A process that was ended by `TemplateProcess.stop`."""


@dataclass(frozen=True)
class Limits:
    """Limits of CAD files that nobody has looked at.

    Attributes:
        max_triangles: Refuse meshes of more; None = no limit.
        memory_bytes: Data that the process may hold, its libraries included; None = no limit.
    """

    max_triangles: int | None = None
    memory_bytes: int | None = None


class TemplateProcess:
    """A TemplateBuilder of which each call, from any thread, has a process of its own.

    Attributes:
        niceness: How much priority the processes that start from now on leave to others, 0 (none) to 19.
    """

    def __init__(self, niceness: int = NICENESS, limits: Limits = Limits()) -> None:
        """Start nothing yet.

        Args:
            niceness: As of the class.
            limits: Of each call.
        """
        self.niceness = niceness
        self._limits = limits
        self._lock = threading.Lock()
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def __call__(self, spec: ObjectSpec, cached: Path, progress: Progress | None = None) -> ObjectTemplates:
        """Build templates as `build_templates` does.

        Args:
            spec: The object.
            cached: Folder of its cached templates.
            progress: Called with (templates rendered, templates); what it raises ends the process.

        Returns:
            The templates.

        Raises:
            CadError: As of `build_templates`; so is TemplateError.
            TemplateProcessError: The process ended without a result.
            TemplateProcessStoppedError: `stop` was called meanwhile.
        """
        child = self._start()
        try:
            _send(child.stdin, (spec, cached, self.niceness, self._limits))
            for kind, content in _messages(child.stdout):
                if kind == "result":
                    return content
                if kind == "error":
                    raise content
                if kind == "warning":
                    logger.warning(content[1], extra={"reason": content[0]})
                elif kind == "not_written":
                    warn_not_written(*content)
                elif progress is not None:
                    progress(*content)
            if child.pid not in self._running:
                raise TemplateProcessStoppedError(f"object '{spec.id}' was being prepared")
            raise TemplateProcessError(f"object '{spec.id}' could not be prepared: {_end_of(child)}")
        finally:
            self._end(child)

    def stop(self) -> None:
        """End all calls that are in progress; later calls are not affected."""
        with self._lock:
            stopped, self._running = list(self._running.values()), {}
        for child in stopped:
            child.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,  # Ctrl-C in the terminal is for the parent, which ends this one
        )
        with self._lock:
            self._running[child.pid] = child
        return child

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running.pop(child.pid, None)
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):  # it was gone before it had read the request
                pipe.close()


def _environment() -> dict[str, str]:
    """Return variables with which the child finds this package, and nothing that lies in the working folder."""
    own = str(Path(os.path.abspath(__file__)).parents[2])  # not where a link leads to
    paths = [own, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**PASSIVE_WAIT_ENV, **os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}


def _send(pipe: IO[bytes] | None, message: Any) -> None:
    assert pipe is not None
    with contextlib.suppress(BrokenPipeError):  # the other side is gone, which the reader of its messages will notice
        pickle.dump(message, pipe, protocol=pickle.HIGHEST_PROTOCOL)
        pipe.flush()


def _messages(pipe: IO[bytes] | None) -> Iterator[tuple[str, Any]]:
    """Iterate over messages until the other side ends, be it in the middle of one."""
    assert pipe is not None
    while True:
        try:
            yield pickle.load(pipe)
        except (EOFError, pickle.UnpicklingError):
            return


def _end_of(child: subprocess.Popen[bytes]) -> str:
    code = child.wait()
    if code == -signal.SIGKILL:
        return "its process was killed, as the system does when memory is short: use a CAD file of fewer triangles"
    if code < 0:
        return f"its process crashed with {signal.Signals(-code).name}: export the CAD file again, in another format"
    return f"its process ended with code {code}"


class _Warnings(logging.Handler):
    """A handler that sends warnings to the parent, whose log they belong into."""

    def __init__(self, messages: IO[bytes]) -> None:
        super().__init__(logging.WARNING)
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        not_written = getattr(record, "not_written", None)  # whether that is news, only the parent knows
        warning = "warning", (getattr(record, "reason", ""), record.getMessage())
        _send(self._messages, warning if not_written is None else ("not_written", not_written))


def _main() -> None:
    messages = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no message
    root = logging.getLogger("ism_ros")
    root.addHandler(_Warnings(messages))
    root.propagate = False
    spec, cached, niceness, limits = pickle.load(sys.stdin.buffer)
    os.nice(niceness)
    if limits.memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (limits.memory_bytes, limits.memory_bytes))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        templates = build_templates(
            spec, cached, lambda done, total: _send(messages, ("progress", (done, total))), limits.max_triangles
        )
    except ValueError as error:  # CadError, TemplateError
        _send(messages, ("error", error))
    except MemoryError:
        _send(messages, ("error", TemplateProcessError(f"object '{spec.id}' needs too much memory: use smaller files")))
    except Exception as error:  # parsers of a dozen formats fail in as many ways
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        _send(messages, ("error", TemplateProcessError(f"object '{spec.id}' could not be prepared: {said}")))
    else:
        _send(messages, ("result", templates))


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    # under its own name, so that the classes in the pickles are those that the parent knows
    from ism_ros.objects import template_process

    template_process._main()
