"""Configuration of rviz2 for a node and a camera with other names than those in config/ism.rviz."""

from __future__ import annotations

from typing import Any

import yaml

NODE = "/ism"
"""Name of the node in config/ism.rviz."""
CAMERA = "/camera/camera"
"""Name of the camera driver in config/ism.rviz."""


def node_path(namespace: str, name: str) -> str:
    """Return the full name of a node: `/left/ism` of `left` or `/left/`, and `ism`."""
    return "/" + "/".join(part for part in (*namespace.split("/"), name) if part)


def rviz_config(template: str, node: str, camera: str, fixed_frame: str) -> str:
    """Replace the names in a configuration of rviz2 by those in use.

    Args:
        template: Text of config/ism.rviz.
        node: Full name of the node, such as `/left/ism`.
        camera: Full name of the camera driver, such as `/camera/camera`: what its topics begin with.
        fixed_frame: Frame of the camera's color image, in which the results are.

    Returns:
        The text of the configuration, in which topics and fixed frame are those of the node and the camera.
    """
    config: dict[str, Any] = yaml.safe_load(template)
    manager = config["Visualization Manager"]
    manager["Global Options"]["Fixed Frame"] = fixed_frame
    for display in manager["Displays"]:
        topic = display.get("Topic", {})
        for known, used in ((NODE, node), (CAMERA, camera)):
            if str(topic.get("Value", "")).startswith(f"{known}/"):
                topic["Value"] = used + topic["Value"].removeprefix(known)
                break
    return str(yaml.safe_dump(config, sort_keys=False))
