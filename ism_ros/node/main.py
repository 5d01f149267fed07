"""`ros2 run ism_ros ism_node`: starts the node and ends it cleanly."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.executors import Executor

    from ism_ros.node.ism_node import IsmNode

EXECUTOR_THREADS = 8
"""One for each callback group that may have to wait: stream, segment, objects, listing, lifecycle, ..."""
STOP_TIMEOUT_S = 0.5
DESCRIPTION = """Finds instances of known objects in synchronised RGB-D images: rgb, depth and camera_info in;
~/detections, ~/mask_image, ~/masks and ~/overlay out. All settings are ROS parameters, listed in config/ism.yaml:
--ros-args --params-file FILE, or --ros-args -p objects_file:=FILE."""


class Stopped(SystemExit):
    """SIGINT or SIGTERM came while the node was starting."""


class StopRequest:
    """SIGINT and SIGTERM: while starting they raise Stopped in the main thread, later they end `wait`."""

    def __init__(self) -> None:
        self.starting = True
        self._event = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def wait(self) -> None:
        self.starting = False
        self._event.wait()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        repeated = self._event.is_set()
        self._event.set()
        if self.starting and not repeated:
            raise Stopped(0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the node until SIGINT or SIGTERM. Exit code 1 after a wrong configuration, which is said in one line."""
    stop = StopRequest()
    try:
        return run(sys.argv if arguments is None else ["ism_node", *arguments], stop)
    except Stopped:
        return 0


def run(arguments: Sequence[str], stop: StopRequest) -> int:
    """The life of the process: start, wait, end."""
    import rclpy
    from rclpy.executors import MultiThreadedExecutor
    from rclpy.signals import SignalHandlerOptions
    from rclpy.utilities import remove_ros_args

    argparse.ArgumentParser(prog="ism_node", description=DESCRIPTION).parse_args(remove_ros_args(arguments)[1:])
    from ism_ros.node.ism_node import IsmNode

    try:
        rclpy.init(args=list(arguments), signal_handler_options=SignalHandlerOptions.NO)
        node = IsmNode()
    except (ValueError, RuntimeError) as error:  # RuntimeError: what rcl says of malformed arguments and YAML files
        say_fatal(error)
        return 1

    executor = MultiThreadedExecutor(num_threads=EXECUTOR_THREADS)
    executor.add_node(node)
    ending = threading.Event()
    spinning = threading.Thread(target=spin, args=(executor, node, ending), name="ism_executor", daemon=True)
    spinning.start()
    code = 0
    try:
        if node.settings.autostart and not autostart(node):
            code = 1
        else:
            stop.wait()
    finally:
        stop.starting = False
        ending.set()
        ended = end(node, executor, spinning)
    if not ended:
        # a thread is deep in a computation that nothing can interrupt and nobody waits for
        os._exit(code)
    return code


def autostart(node: IsmNode) -> bool:
    """Configures and activates; False where the configuration is wrong, which has been logged."""
    from rclpy.lifecycle import TransitionCallbackReturn

    return (
        node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        and node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    )


def spin(executor: Executor, node: IsmNode, ending: threading.Event) -> None:
    """Executes callbacks until `ending`; one that raises is logged and does not end the node."""
    while not ending.is_set():
        try:
            executor.spin_once()
        except Exception as error:
            if not ending.is_set():
                node.get_logger().error(f"a callback failed: {error!r}")


def end(node: IsmNode, executor: Executor, spinning: threading.Thread) -> bool:
    """Gives everything back; False where a thread would not end in time."""
    import rclpy

    node.stop_loading()
    released = node.release()
    executor.shutdown(STOP_TIMEOUT_S)
    spinning.join(STOP_TIMEOUT_S)
    idle = not spinning.is_alive()
    if released and idle:
        node.destroy_node()
    with contextlib.suppress(RuntimeError):
        rclpy.try_shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    return released and idle


def say_fatal(error: Exception) -> None:
    """One line on stderr."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    print(f"ism_node: {lines[0]}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
