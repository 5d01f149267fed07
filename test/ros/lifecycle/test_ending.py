"""End of the node by signals, at every point of its life."""

import ctypes
import re
import signal
import time
from pathlib import Path

import pytest

END_S = 2.0
LIBC = ctypes.CDLL(None)


def caught_signals(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"SigCgt:\s*(\w+)", status).group(1), 16)


def wait_until(condition, what, timeout_s=30.0):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.01)


def test_ctrl_c_while_python_still_imports_ends_cleanly(start_node, parameters):
    node = start_node("ending", parameters, is_prepared=False)
    wait_until(lambda: caught_signals(node.process) >> (signal.SIGTERM - 1) & 1, "the signal handler")
    node.assert_ends_cleanly()


def other_threads(process):
    """Those beside the main one that take SIGTERM."""
    tasks = [path for path in Path(f"/proc/{process.pid}/task").iterdir() if int(path.name) != process.pid]
    blocked = {int(t.name): re.search(r"SigBlk:\s*(\w+)", (t / "status").read_text()).group(1) for t in tasks}
    return [thread for thread, mask in blocked.items() if not int(mask, 16) >> (signal.SIGTERM - 1) & 1]


@pytest.mark.skipif(not hasattr(LIBC, "tgkill"), reason="this C library cannot signal a thread of another process")
def test_a_signal_that_the_kernel_hands_to_another_thread_ends_it_cleanly(start_node, parameters):
    node = start_node("ending", {**parameters, "autostart": False}, is_prepared=False)
    wait_until(lambda: caught_signals(node.process) >> (signal.SIGTERM - 1) & 1, "the signal handler")
    wait_until(lambda: other_threads(node.process), "another thread")
    began = time.monotonic()
    assert LIBC.tgkill(node.process.pid, other_threads(node.process)[0], signal.SIGTERM) == 0
    assert node.process.wait(30.0) == 0
    assert time.monotonic() - began < END_S
    node.close()


def test_ctrl_c_while_objects_are_rendered_ends_cleanly(start_node, parameters, tmp_path):
    node = start_node("ending", {**parameters, "cache_dir": str(tmp_path)})
    wait_until(lambda: "object 1 of 2" in node.output, "rendering")
    node.assert_ends_cleanly()


def test_ctrl_c_in_the_middle_of_the_stream_ends_cleanly(lasting_cell, start_cell, parameters):
    # `lasting_cell` has filled the cache
    cell = start_cell(parameters, topics=["detections"])
    try:
        cell.wait_until("active")
        cell.connect()
        cell.result()
        cell.camera.start_publishing(200, rate_hz=30.0)
        cell.node.assert_ends_cleanly()
    finally:
        cell.close()
