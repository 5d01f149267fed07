"""`shutdown` by service, from every state and in the middle of every transition."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNodeMixin

SHUTDOWNS = (
    Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
    Transition.TRANSITION_INACTIVE_SHUTDOWN,
    Transition.TRANSITION_ACTIVE_SHUTDOWN,
)
SETTLED = (
    State.PRIMARY_STATE_UNCONFIGURED,
    State.PRIMARY_STATE_INACTIVE,
    State.PRIMARY_STATE_ACTIVE,
    State.PRIMARY_STATE_FINALIZED,
)
POLL_S = 0.01


def accept_shutdown_anytime(node: LifecycleNodeMixin, hurry: Callable[[], None]) -> None:
    """Makes a shutdown that comes during another transition wait for its end instead of being refused.

    The state machine knows shutdown only from a primary state, and by a number that differs from state to state.
    hurry: makes the transition in progress end soon.
    """
    service: Any = node._service_change_state  # rclpy has no other way to its callback
    answer: Callable[[ChangeState.Request, ChangeState.Response], ChangeState.Response] = service.callback

    def change_state(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
        if is_shutdown(request.transition):
            hurry()
            while node._state_machine.current_state[0] not in SETTLED:
                time.sleep(POLL_S)
            request.transition.label = "shutdown"
        return answer(request, response)

    service.callback = change_state


def is_shutdown(transition: Transition) -> bool:
    """Whether shutdown is asked for, by its label or, without one, by one of its three numbers."""
    return bool(transition.label == "shutdown" or (not transition.label and transition.id in SHUTDOWNS))
