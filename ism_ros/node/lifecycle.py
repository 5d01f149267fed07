"""Additions to rclpy's lifecycle: transitions that report what they raise, and shutdown at any moment."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn

SHUTDOWN_TRANSITIONS = (
    Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
    Transition.TRANSITION_INACTIVE_SHUTDOWN,
    Transition.TRANSITION_ACTIVE_SHUTDOWN,
)
"""Numbers of the transition `shutdown`, one for each state that it may start from."""
PRIMARY_STATES = (
    State.PRIMARY_STATE_UNCONFIGURED,
    State.PRIMARY_STATE_INACTIVE,
    State.PRIMARY_STATE_ACTIVE,
    State.PRIMARY_STATE_FINALIZED,
)
"""Numbers of the states in which no transition is in progress."""
POLL_S = 0.01
"""Time between two looks at the state, seconds."""


class ReportsFailures(Protocol):
    """A node that wants to know what its transitions raise."""

    def transition_failed(self, name: str, error: Exception) -> None:
        """Take note of an exception.

        Args:
            name: Name of the transition, such as `configure`.
            error: What it raised.
        """


FailingNode = TypeVar("FailingNode", bound=ReportsFailures)
Callback = Callable[[FailingNode, LifecycleState], TransitionCallbackReturn]


def transition(callback: Callback[FailingNode]) -> Callback[FailingNode]:
    """Decorate a transition callback so that what it raises is reported, which rclpy would swallow.

    The transition then ends in ERROR, and rclpy calls on_error.
    """

    @functools.wraps(callback)
    def guarded(node: FailingNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return callback(node, state)
        except Exception as error:
            node.transition_failed(callback.__name__.removeprefix("on_"), error)
            return TransitionCallbackReturn.ERROR

    return guarded


def accept_shutdown_anytime(node: LifecycleNodeMixin, on_request: Callable[[], None]) -> None:
    """Make a shutdown that is requested during another transition wait for its end instead of being refused.

    The state machine knows shutdown only from a primary state, and by a number that differs from state to state.

    Args:
        node: The lifecycle node.
        on_request: Makes the transition in progress end soon.
    """
    service: Any = node._service_change_state  # rclpy has no other way to its callback
    respond: Callable[[ChangeState.Request, ChangeState.Response], ChangeState.Response] = service.callback

    def change_state(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
        if is_shutdown(request.transition):
            on_request()
            while node._state_machine.current_state[0] not in PRIMARY_STATES:
                time.sleep(POLL_S)
            request.transition.label = "shutdown"
        return respond(request, response)

    service.callback = change_state


def is_shutdown(transition: Transition) -> bool:
    """Return whether shutdown is requested, by its label or, without one, by one of its three numbers."""
    return bool(transition.label == "shutdown" or (not transition.label and transition.id in SHUTDOWN_TRANSITIONS))
