"""Other nodes with the name of this one."""

from __future__ import annotations

from rclpy.node import Node

from ism_ros.node.camera_monitoring.missing_frames import Problem


def namesakes(node: Node) -> Problem | None:
    """Said where another node in the graph has the full name of `node`: services would be answered by either."""
    own = (node.get_name(), node.get_namespace())
    count = node.get_node_names_and_namespaces().count(own)
    if count < 2:
        return None
    name = node.get_fully_qualified_name()
    return Problem(
        "duplicate_name",
        f"{count} nodes are called {name} and answer each other's services: end one of them, or give it another name "
        "(-r __node:=...) or namespace (-r __ns:=/...); one that was killed counts for some seconds still",
    )
