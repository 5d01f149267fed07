"""`ros2 run ism_ros ism_node`: starts the node and ends it cleanly."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NoReturn

from ism_ros.runtime.threads import use_patient_threads

if TYPE_CHECKING:
    from rclpy.executors import Executor

    from ism_ros.node.node import IsmNode

EXECUTOR_THREADS = 12
"""One for each callback that may have to wait: four of segment, adding, removing, listing, lifecycle, ..."""
END_TIMEOUT_S = 1.0
SWITCH_INTERVAL_S = 0.0005
"""Each of a frame's thousand operations gives Python's lock away and gets it back after at most so long from a thread
that takes messages; Python's own 5 ms would make that seconds."""
DESCRIPTION = """Finds instances of known objects in synchronised RGB-D images: rgb, depth and camera_info in;
~/detections, ~/mask_image, ~/masks and ~/overlay out. All settings are ROS parameters, listed in config/ism.yaml:
--ros-args --params-file FILE, or --ros-args -p objects_file:=FILE."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the node until SIGINT or SIGTERM. Exit code 1 after a wrong configuration, which is said in one line."""
    use_patient_threads()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    ending = Ending()
    # imports and loading take seconds and are not to be broken by a signal half-way: they have their own thread
    life = Life(sys.argv if arguments is None else ["ism_node", *arguments], ending)
    code = ending.wait()
    life.end(END_TIMEOUT_S)
    sys.stdout.flush()
    sys.stderr.flush()
    # not sys.exit: a thread may be deep in a computation that nothing can interrupt and nobody waits for, and
    # taking down PyTorch alone can take seconds
    os._exit(code)


class Ending:
    """What the main thread waits for: SIGINT or SIGTERM, or the word of another thread. Make it on the main thread.

    The kernel may hand a signal to any thread, and Python's handlers run on the main one, which a lock or a queue would
    not wake for it: the pipe does.
    """

    def __init__(self) -> None:
        self._code = 0
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            # without a handler no byte is written
            signal.signal(number, lambda number, frame: None)

    def now(self, code: int) -> None:
        """Ends the wait with this exit code."""
        self._code = code
        os.write(self._writer, b"\0")

    def wait(self) -> int:
        """The exit code: 0 after a signal."""
        os.read(self._reader, 1)
        return self._code


class Life:
    """The node from start to end, on threads of its own. `ending` is told where it cannot start."""

    def __init__(self, arguments: Sequence[str], ending: Ending) -> None:
        self._arguments = list(arguments)
        self._refusal = ending
        self._ending = threading.Event()
        self._node: IsmNode | None = None
        self._executor: Executor | None = None
        threading.Thread(target=self._start, name="ism_start", daemon=True).start()

    def end(self, timeout_s: float) -> None:
        """Gives back what others would miss, within `timeout_s`: results in the making are dropped."""
        self._ending.set()
        if self._node is not None:
            giving_back = threading.Thread(target=self._give_back, name="ism_end", daemon=True)
            giving_back.start()
            giving_back.join(timeout_s)

    def _start(self) -> None:
        try:
            code = self._make_node()
        except SystemExit as error:  # argparse, after --help or an unknown argument
            code = error.code if isinstance(error.code, int) else 1
        except Exception:
            if self._ending.is_set():  # the node was taken away while it was loading
                return
            traceback.print_exc()
            code = 1
        if code is not None:
            self._refusal.now(code)

    def _make_node(self) -> int | None:
        """The code to exit with, or None when the node is running."""
        import rclpy
        from rclpy.signals import SignalHandlerOptions
        from rclpy.utilities import remove_ros_args

        try:
            parser = argparse.ArgumentParser(prog="ism_node", description=DESCRIPTION)
            parser.parse_args(remove_ros_args(self._arguments)[1:])
            try:
                with quiet_until_it_fails():
                    from ism_ros.node.execution.stream_executor import StreamExecutor
                    from ism_ros.node.node import IsmNode
                    from ism_ros.node.parameters.params_files import unmatched_params_files

                    check_cv_bridge()
            except Exception as error:  # what a library of another version comes up with
                say(why_not_imported(error))
                return 1
            if self._ending.is_set():
                return 0
            rclpy.init(args=self._arguments, signal_handler_options=SignalHandlerOptions.NO)
            self._node = IsmNode()
            for sentence in unmatched_params_files(self._arguments, self._node.get_fully_qualified_name()):
                self._node.get_logger().warning(sentence)
        except (ValueError, RuntimeError) as error:  # RuntimeError: what rcl says of malformed arguments and YAML
            say(error)
            return 1
        self._executor = StreamExecutor(self._node.stream_calls.group, EXECUTOR_THREADS, self._on_error)
        self._executor.add_node(self._node)
        threading.Thread(target=self._spin, name="ism_executor", daemon=True).start()
        if self._node.settings.autostart and not self._node.autostart():
            return 1
        return None

    def _spin(self) -> None:
        """Executes callbacks; one that raises is logged and does not end the node."""
        assert self._node is not None
        assert self._executor is not None
        while not self._ending.is_set():
            try:
                self._executor.spin_once()
            except Exception as error:
                self._on_error(error)

    def _on_error(self, error: BaseException) -> None:
        if not self._ending.is_set() and self._node is not None:
            self._node.get_logger().error(f"a callback failed: {error!r}")

    def _give_back(self) -> None:
        import rclpy

        assert self._node is not None
        self._node.stop_loading()
        if self._executor is not None:
            self._executor.shutdown(0)
        self._node.stream_calls.end()
        self._node.release()
        # with the last node goes the DDS participant, which says goodbye to the others
        self._node.destroy_node()
        rclpy.try_shutdown()


def check_cv_bridge() -> None:
    """Converts one image: the compiled part of cv_bridge, which is made for one NumPy, is loaded by that alone."""
    import numpy
    from cv_bridge import CvBridge

    bridge = CvBridge()
    bridge.imgmsg_to_cv2(bridge.cv2_to_imgmsg(numpy.zeros((1, 1, 3), numpy.uint8), "bgr8"), "rgb8")


@contextlib.contextmanager
def quiet_until_it_fails() -> Iterator[None]:
    """Holds back what libraries print on stderr; it is printed where nothing fails, and left out for the error else."""
    held = io.StringIO()
    with contextlib.redirect_stderr(held):
        yield
    sys.stderr.write(held.getvalue())


def why_not_imported(error: Exception) -> str:
    """Says which package the node cannot be imported for, and what to do, in one sentence."""
    from ism_ros.selftest.health import check_ros_packages

    for finding in check_ros_packages():
        if finding.state == "failed":
            return f"{finding.subject} {finding.found}: {finding.advice}"
    return f"the node cannot be loaded ({type(error).__name__}: {error}): `ism doctor` looks for what is wrong"


def say(error: Exception | str) -> None:
    """One line on stderr."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    print(f"ism_node: {lines[0]}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
