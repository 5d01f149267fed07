"""A node and a camera, each in a process of its own."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prepared_processes import PreparedProcess, PreparedProcesses

TIMEOUT_S = 60.0
"""How long to wait for what is sure to come, seconds."""
PROGRAMS = Path(__file__).parents[2] / "ros" / "programs"
"""Folder of the programs that tests start."""
SHARED = tuple(str(folder) for folder in sorted(Path(__file__).parents[1].iterdir()) if folder.is_dir())
"""Folders of test/shared, whose modules processes import by their own names, as tests do."""
ISM_NODE = ("-m", "ism_ros.node.main")
"""Arguments of Python that start the node."""
CAMERA = (str(PROGRAMS / "camera_process.py"),)
"""Arguments of Python that start the camera."""
NODE_LIBRARIES = (
    "ism_ros.node.node",
    "ism_ros.node.execution.stream_executor",
    "ism_ros.node.parameters.params_files",
    "ism_ros.loading",
    "cv_bridge",
    "tf2_msgs.msg",
)
"""Modules that a node, or the camera, imports at its start."""
FAULTY_NODE = (str(PROGRAMS / "faulty_node.py"),)
"""Arguments of Python that start a node that fails on demand."""


def environment_with(changes: Mapping[str, str | None]) -> dict[str, str]:
    """This process's environment with some variables set, or gone where the value is None; finds test/shared."""
    path = os.pathsep.join([*SHARED, os.environ.get("PYTHONPATH", "")])
    return {name: value for name, value in {**os.environ, "PYTHONPATH": path, **changes}.items() if value is not None}


class NodeProcess:
    """`ism_node` as a user starts it, or forked from a process that has imported its libraries (`prepared`)."""

    def __init__(
        self,
        namespace: str,
        parameters: dict[str, Any],
        log: Path,
        environment: Mapping[str, str | None],
        more: Sequence[str] = (),
        program: Sequence[str] = ISM_NODE,
        prepared: PreparedProcesses | None = None,
    ) -> None:
        assignments = [f"{name}:={json.dumps(value)}" for name, value in parameters.items()]
        arguments = [argument for assignment in assignments for argument in ("-p", assignment)]
        self.log = log
        self.namespace = namespace
        log.touch()
        command = ["--ros-args", "-r", f"__ns:=/{namespace}", *arguments, *more]
        variables = environment_with(environment)
        self.process: subprocess.Popen[bytes] | PreparedProcess
        if prepared is not None:
            self.process = prepared.start(program, command, log, log, log.parent, variables)
            return
        with log.open("a") as stream:
            self.process = subprocess.Popen(
                [sys.executable, *program, *command],
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                env=variables,
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def interrupt(self, number: int = signal.SIGINT) -> tuple[int, float]:
        """Exit code and the seconds that ending took."""
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_S), time.monotonic() - began

    def assert_ends_cleanly(self, number: int = signal.SIGINT, within_s: float = 2.0) -> None:
        """Exit code 0, soon, and not a word about it but information."""
        before = self.output
        code, seconds = self.interrupt(number)
        said = [line for line in self.output[len(before) :].splitlines() if "[INFO]" not in line]
        assert (code, said) == (0, [])
        assert seconds < within_s

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class CameraProcess:
    """camera_process.py, driven line by line."""

    def __init__(
        self, prepared: PreparedProcesses, namespace: str, frame: Path, *options: str, **environment: str | None
    ) -> None:
        self.is_whole = True
        self._answers: list[dict[str, Any]] = []
        self._told = 0
        with tempfile.TemporaryDirectory(prefix="ism_camera_") as folder:
            stdin, stdout = Path(folder) / "stdin", Path(folder) / "stdout"
            os.mkfifo(stdin)
            os.mkfifo(stdout)
            self.process = prepared.start(
                CAMERA, [str(frame), "--namespace", namespace, *options],
                stdout=stdout, stderr=frame.parent / "cameras.log", cwd=frame.parent,
                environment=environment_with(environment), stdin=stdin,
            )  # fmt: skip
            self._stdin, self._stdout = stdin.open("w"), stdout.open()
        self._answer(0)

    def wait_for_subscribers(self) -> None:
        assert self._ask({"wait_for_subscribers": TIMEOUT_S})["matched"], "nobody subscribed to the camera"

    def wait_until_known(self) -> None:
        """Discovery takes up to some seconds; what does not fit in QoS is known, too."""
        assert self._ask({"wait_until_known": TIMEOUT_S})["known"], "nobody subscribes to the camera"

    def publish(self, count: int = 1, **how: Any) -> list[tuple[int, int]]:
        """Stamps (sec, nanosec) of the published rgb messages."""
        return [tuple(stamp) for stamp in self._ask({"publish": count, **how})["stamps"]]

    def start_publishing(self, count: int, rate_hz: float, **how: Any) -> Callable[[], list[tuple[int, int]]]:
        """Publishes without waiting; the result waits for the end and gives the stamps."""
        number = self._tell({"publish": count, "rate_hz": rate_hz, **how})
        return lambda: [tuple(stamp) for stamp in self._answer(number)["stamps"]]

    def withdraw(self, *names: str) -> None:
        """Ends the publishers of these topics."""
        assert self._ask({"withdraw": names})["withdrawn"]
        self.is_whole = False

    def play(self, count: int, rate_hz: float, from_s: float, **how: Any) -> list[tuple[int, int]]:
        """Plays frames and /clock as a bag does; the stamps."""
        return [tuple(s) for s in self._ask({"play": count, "rate_hz": rate_hz, "from_s": from_s, **how})["stamps"]]

    def start_fuzzing(self, count: int, rate_hz: float, seed: int) -> Callable[[], None]:
        """Publishes malformed messages without waiting; the result waits for the end."""
        number = self._tell({"fuzz": count, "rate_hz": rate_hz, "seed": seed})

        def finish() -> None:
            self._answer(number)

        return finish

    def kill(self) -> None:
        """Ends it without a word to anyone."""
        self.process.kill()

    def close(self) -> None:
        """Lets it say goodbye, so that the others do not take it for alive until its lease runs out."""
        self._stdin.close()
        try:
            self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._stdout.close()

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        return self._answer(self._tell(command))

    def _tell(self, command: dict[str, Any]) -> int:
        """The number of the answer that will come."""
        self._stdin.write(json.dumps(command) + "\n")
        self._stdin.flush()
        self._told += 1
        return self._told

    def _answer(self, number: int) -> dict[str, Any]:
        """That to command `number`, from 1; nobody may have waited for those before. 0: that it is ready."""
        while len(self._answers) <= number:
            assert select.select([self._stdout], [], [], 2 * TIMEOUT_S)[0], "the camera does not answer"
            self._answers.append(json.loads(self._stdout.readline()))
        return self._answers[number]


class Faults:
    """What faulty_node.py and faulty_models.py are to suffer from now on, and what happened to them."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._events = file.with_name(file.name + ".events")
        self._events.touch()
        self.set()

    def set(self, **faults: Any) -> None:
        """These and no others."""
        whole = self.file.with_suffix(".next")
        whole.write_text(json.dumps(faults))
        whole.replace(self.file)

    def events(self) -> list[str]:
        return self._events.read_text().splitlines()

    def wait_for(self, event: str, timeout_s: float = TIMEOUT_S) -> None:
        deadline_s = time.monotonic() + timeout_s
        while event not in self.events():
            assert time.monotonic() < deadline_s, f"'{event}' not within {timeout_s:g} s: {self.events()}"
            time.sleep(0.01)

    def forget(self) -> None:
        """No event has happened yet."""
        os.truncate(self._events, 0)
