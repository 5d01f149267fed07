"""A camera that goes on while the node is activated and deactivated, again and again: nobody is told of an error."""

from __future__ import annotations

from typing import Any

import pytest

RATE_HZ = 60.0
"""So that messages are on the way, or being taken, whenever the subscriptions end."""
FRAMES_OF_FIVE = 60
"""Published while the node is deactivated and activated five times."""


def activate_and_deactivate(cell: Any, times: int) -> None:
    """Each time with frames on the way; asserts that the log has no error and that frames are answered afterwards."""
    camera = cell.connect()
    for _ in range(times // 5):
        finish = camera.start_publishing(FRAMES_OF_FIVE, RATE_HZ)
        for _ in range(5):
            assert cell.listener.transition("deactivate")
            assert cell.listener.transition("activate")
        finish()
    assert [line for line in cell.node.output.splitlines() if "[ERROR]" in line] == []
    assert cell.result().detections


@pytest.fixture
def cell(start_cell: Any, parameters: dict[str, Any]) -> Any:
    cell = start_cell(parameters)
    cell.wait_until("active")
    yield cell
    cell.close()


def test_no_activation_beside_a_running_camera_fails_a_callback(cell: Any) -> None:
    activate_and_deactivate(cell, 20)


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_none_of_two_hundred_activations_fails_a_callback(cell: Any) -> None:
    activate_and_deactivate(cell, 200)
