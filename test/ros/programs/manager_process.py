"""A lifecycle manager in a process of its own: the services that nav2_lifecycle_manager calls, in its order.

Each argument after the node's name is a transition, by its number as the manager sends it. Prints a JSON line for each:
whether it succeeded, the state after it, and how long it took.
"""

from __future__ import annotations

import json
import sys
import time

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node

TIMEOUT_S = 120.0


def call(node: Node, kind: type, name: str, request: object) -> object:
    client = node.create_client(kind, name)
    if not client.wait_for_service(TIMEOUT_S):
        sys.exit(f"{name} is not there")
    future = client.call_async(request)
    rclpy.spin_until_future_complete(node, future, timeout_sec=TIMEOUT_S)
    node.destroy_client(client)
    return future.result()


def main() -> None:
    target, *numbers = sys.argv[1:]
    rclpy.init(args=[])
    node = Node("manager")
    for number in map(int, numbers):
        began_s = time.monotonic()
        request = ChangeState.Request(transition=Transition(id=number))
        success = call(node, ChangeState, f"{target}/change_state", request).success
        state = call(node, GetState, f"{target}/get_state", GetState.Request()).current_state.label
        print(json.dumps({"success": success, "state": state, "seconds": time.monotonic() - began_s}), flush=True)
    node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
