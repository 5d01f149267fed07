"""Detection of another node with the name of this one."""

from __future__ import annotations

from rclpy.node import Node

from ism_ros.node.event_log import DiagnosticEvent


def duplicate_name_event(node: Node) -> DiagnosticEvent | None:
    """Return an event where another node in the graph has the full name of `node`, else None.

    Either of them would answer the services.
    """
    own_name = (node.get_name(), node.get_namespace())
    count = node.get_node_names_and_namespaces().count(own_name)
    if count < 2:
        return None
    name = node.get_fully_qualified_name()
    return DiagnosticEvent(
        "duplicate_name",
        f"{count} nodes are called {name} and answer each other's services: end one of them, or give it another name "
        "(-r __node:=...) or namespace (-r __ns:=/...); one that was killed counts for some seconds still",
    )
