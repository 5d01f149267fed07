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
from typing import Any, NoReturn

from ism_ros.errors import first_line
from ism_ros.runtime.threads import configure_thread_env

EXECUTOR_THREADS = 12
"""Number of threads for callbacks that may wait: four of segment, adding, removing, listing, lifecycle, ..."""
SHUTDOWN_TIMEOUT_S = 1.0
"""How long the node may take to release what others would miss, seconds."""
LOAD_END_S = 0.5
"""Time of that for a load in progress, which stops at its next step, seconds."""
SWITCH_INTERVAL_S = 0.0005
"""Interval after which a thread that takes messages gives Python's lock back, seconds: each of a frame's thousand
operations gives it away, and Python's own 5 ms would make that seconds."""
DESCRIPTION = """Finds instances of known objects in synchronised RGB-D images: rgb, depth and camera_info in;
~/detections, ~/mask_image, ~/masks and ~/overlay out. All settings are ROS parameters, listed in config/ism.yaml:
--ros-args --params-file FILE, or --ros-args -p objects_file:=FILE."""
"""Text of --help."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the node until SIGINT or SIGTERM; exit with 1 after a wrong configuration, with one line about it.

    Args:
        arguments: Command line without the program; None = that of the process.
    """
    configure_thread_env()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    shutdown = ShutdownSignal()
    # imports and loading take seconds and must not be interrupted by a signal: they have their own thread
    runner = NodeRunner(sys.argv if arguments is None else ["ism_node", *arguments], shutdown)
    code = shutdown.wait()
    runner.stop(SHUTDOWN_TIMEOUT_S)
    sys.stdout.flush()
    sys.stderr.flush()
    # not sys.exit: a thread may be deep in a computation that nothing can interrupt and nobody waits for, and
    # taking down PyTorch alone can take seconds
    os._exit(code)


class ShutdownSignal:
    """Wakes the main thread on SIGINT, SIGTERM or a request of another thread; make it on the main thread.

    The kernel may hand a signal to any thread, and Python's handlers run on the main one, which a lock or a queue would
    not wake for it: the pipe does.
    """

    def __init__(self) -> None:
        """Install the signal handlers."""
        self._code = 0
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            # without a handler no byte is written
            signal.signal(number, lambda number, frame: None)

    def request(self, code: int) -> None:
        """End the wait with this exit code."""
        self._code = code
        os.write(self._writer, b"\0")

    def wait(self) -> int:
        """Wait, and return the exit code: 0 after a signal."""
        os.read(self._reader, 1)
        return self._code


class NodeRunner:
    """Runs the node from start to end on threads of its own."""

    def __init__(self, arguments: Sequence[str], shutdown: ShutdownSignal) -> None:
        """Start.

        Args:
            arguments: Command line, with the program.
            shutdown: Is requested where the node cannot start.
        """
        self._arguments = list(arguments)
        self._shutdown = shutdown
        self._stopping = threading.Event()
        self._node: Any = None  # an IsmNode, whose import takes seconds
        self._executor: Any = None
        self._starting = threading.Thread(target=self._start, name="ism_start", daemon=True)
        self._starting.start()

    def stop(self, timeout_s: float) -> None:
        """Release what others would miss, within `timeout_s`; results in progress are dropped."""
        self._stopping.set()
        if self._node is not None:
            releasing = threading.Thread(target=self._release, name="ism_end", daemon=True)
            releasing.start()
            releasing.join(timeout_s)

    def _start(self) -> None:
        try:
            code = self._run()
        except SystemExit as error:  # argparse, after --help or an unknown argument
            code = error.code if isinstance(error.code, int) else 1
        except Exception:
            if self._stopping.is_set():  # the node was destroyed while it was loading
                return
            traceback.print_exc()
            code = 1
        if code is not None:
            self._shutdown.request(code)

    def _run(self) -> int | None:
        """Start the node; return the code to exit with, None when it is running."""
        import rclpy
        from rclpy.signals import SignalHandlerOptions
        from rclpy.utilities import remove_ros_args

        try:
            parser = argparse.ArgumentParser(prog="ism_node", description=DESCRIPTION)
            parser.parse_args(remove_ros_args(self._arguments)[1:])
            try:
                with stderr_on_success():
                    from ism_ros.node.execution.stream_executor import StreamExecutor
                    from ism_ros.node.node import IsmNode
                    from ism_ros.node.parameters.params_files import unmatched_params_files

                    check_cv_bridge()
            except Exception as error:  # what a library of another version comes up with
                print_error(import_failure_text(error))
                return 1
            if self._stopping.is_set():
                return 0
            rclpy.init(args=self._arguments, signal_handler_options=SignalHandlerOptions.NO)
            self._node = IsmNode()
            for sentence in unmatched_params_files(self._arguments, self._node.get_fully_qualified_name()):
                self._node.get_logger().warning(sentence)
        except (ValueError, RuntimeError) as error:  # RuntimeError: rcl, of malformed arguments and YAML
            print_error(first_line(error))
            return 1
        self._executor = StreamExecutor(self._node.calls.group, EXECUTOR_THREADS, self._on_error)
        self._executor.add_node(self._node)
        threading.Thread(target=self._spin, name="ism_executor", daemon=True).start()
        if self._node.settings.autostart and not self._node.autostart():
            return 1
        return None

    def _spin(self) -> None:
        """Execute callbacks; one that raises is logged and does not end the node."""
        while not self._stopping.is_set():
            try:
                self._executor.spin_once()
            except Exception as error:
                self._on_error(error)

    def _on_error(self, error: BaseException) -> None:
        if not self._stopping.is_set() and self._node is not None:
            self._node.get_logger().error(f"a callback failed: {error!r}")

    def _release(self) -> None:
        import rclpy
        from rclpy.logging import LoggingSeverity

        self._node.stop_loading()
        # a transition that ends after the node cannot say so, which rclpy would log as an error
        self._starting.join(LOAD_END_S)
        if self._starting.is_alive():
            self._node.get_logger().set_level(LoggingSeverity.FATAL)
        if self._executor is not None:
            self._executor.shutdown(0)
        self._node.calls.close()
        self._node.release()
        # with the last node goes the DDS participant, which tells the others
        self._node.destroy_node()
        rclpy.try_shutdown()


def check_cv_bridge() -> None:
    """Convert one image: that loads the compiled part of cv_bridge, which is made for one version of NumPy."""
    import numpy
    from cv_bridge import CvBridge

    bridge = CvBridge()
    bridge.imgmsg_to_cv2(bridge.cv2_to_imgmsg(numpy.zeros((1, 1, 3), numpy.uint8), "bgr8"), "rgb8")


@contextlib.contextmanager
def stderr_on_success() -> Iterator[None]:
    """Hold back what libraries print on stderr, and print it where nothing is raised; else the error says enough."""
    held = io.StringIO()
    with contextlib.redirect_stderr(held):
        yield
    sys.stderr.write(held.getvalue())


def import_failure_text(error: Exception) -> str:
    """Return one sentence that says for which package the node cannot be imported, and what to do."""
    from ism_ros.selftest.ros_checks import check_ros_packages

    for finding in check_ros_packages():
        if finding.state == "failed":
            return f"{finding.subject} {finding.found}: {finding.advice}"
    cause = f"{type(error).__name__}: {first_line(error)}"  # print_error would cut the advice off after its first line
    return f"the node cannot be loaded ({cause}): `ism doctor` looks for what is wrong"


def print_error(text: str) -> None:
    """Print the first line of a text on stderr."""
    print(f"ism_node: {text.strip().splitlines()[0]}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
