"""Preparation in a process of its own, of low priority: rendering takes seconds of Python, during which the threads of
one process would wait for each other, and a CAD file that crashes its reader takes nothing else along.

The two talk in pickles: a request on the child's stdin, which stays open for as long as the parent lives; on its
stdout any number of ("progress", (done, total)) and ("warning", (reason, text)), then one ("result", Prepared) or
("error", exception).
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
from ism_ros.objects.template_builder import Prepared, Progress, prepare
from ism_ros.runtime.threads import PASSIVE_WAIT_ENV

NICENESS = 5
"""Beside a stream: at 10 a busy machine would hardly get on with rendering at all."""

logger = logging.getLogger(__name__)


class PreparationError(ValueError):
    """The process ended without a result; the message is one line that says why, as far as that is known."""


class PreparationStoppedError(RuntimeError):
    """The process was ended by `PreparationProcess.stop`."""


@dataclass(frozen=True)
class Limits:
    """Of one preparation; None = none. memory_bytes: data that its process may hold, its libraries included."""

    max_triangles: int | None = None
    memory_bytes: int | None = None


class PreparationProcess:
    """Called like `prepare`, from any thread; each call has a process of its own.

    niceness: how much priority the processes that start from now on leave to others, 0 (none) to 19. limits: of CAD
    files that nobody has looked at.
    """

    def __init__(self, niceness: int = NICENESS, limits: Limits = Limits()) -> None:
        self.niceness = niceness
        self._limits = limits
        self._lock = threading.Lock()
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def __call__(self, spec: ObjectSpec, cached: Path, progress: Progress | None = None) -> Prepared:
        """Raises what `prepare` raises, PreparationError, or PreparationStoppedError. An exception of `progress`
        ends the process."""
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
                elif progress is not None:
                    progress(*content)
            if child.pid not in self._running:
                raise PreparationStoppedError(f"object '{spec.id}' was being prepared")
            raise PreparationError(f"object '{spec.id}' could not be prepared: {_end_of(child)}")
        finally:
            self._end(child)

    def stop(self) -> None:
        """Ends what is being prepared; a later call is not affected."""
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
    """In which the child finds this package, and nothing that happens to lie in the working folder."""
    own = str(Path(os.path.abspath(__file__)).parents[2])  # not where a link leads to
    paths = [own, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**PASSIVE_WAIT_ENV, **os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}


def _send(pipe: IO[bytes] | None, message: Any) -> None:
    assert pipe is not None
    with contextlib.suppress(BrokenPipeError):  # the other side is gone, which the reader of its answers will notice
        pickle.dump(message, pipe, protocol=pickle.HIGHEST_PROTOCOL)
        pipe.flush()


def _messages(pipe: IO[bytes] | None) -> Iterator[tuple[str, Any]]:
    """Until the other side ends, be it in the middle of a message."""
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
    """Hands warnings to the parent, whose log they belong into."""

    def __init__(self, answers: IO[bytes]) -> None:
        super().__init__(logging.WARNING)
        self._answers = answers

    def emit(self, record: logging.LogRecord) -> None:
        _send(self._answers, ("warning", (getattr(record, "reason", ""), record.getMessage())))


def _main() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    root = logging.getLogger("ism_ros")
    root.addHandler(_Warnings(answers))
    root.propagate = False
    spec, cached, niceness, limits = pickle.load(sys.stdin.buffer)
    os.nice(niceness)
    if limits.memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (limits.memory_bytes, limits.memory_bytes))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        prepared = prepare(
            spec, cached, lambda done, total: _send(answers, ("progress", (done, total))), limits.max_triangles
        )
    except ValueError as error:  # CadError, TemplateError
        _send(answers, ("error", error))
    except MemoryError:
        _send(answers, ("error", PreparationError(f"object '{spec.id}' needs too much memory: use smaller files")))
    except Exception as error:  # parsers of a dozen formats fail in as many ways
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        _send(answers, ("error", PreparationError(f"object '{spec.id}' could not be prepared: {said}")))
    else:
        _send(answers, ("result", prepared))


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    # under its own name, so that the classes in the pickles are those that the parent knows
    from ism_ros.objects import template_process

    template_process._main()
