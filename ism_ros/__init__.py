"""Instances of novel objects in RGB-D frames, from their CAD models alone.

    from ism_ros import ObjectSpec, load_model, read_frame

Names are imported when they are first used, so that `import ism_ros` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ism_ros.config.settings import Settings
    from ism_ros.config.sources import load_settings
    from ism_ros.data.camera import Camera
    from ism_ros.data.detections import Detections
    from ism_ros.data.frame import Frame
    from ism_ros.io.frame_files import read_frame
    from ism_ros.loading import load_model
    from ism_ros.model import InstanceSegmentationModel
    from ism_ros.objects.spec import ObjectSpec
    from ism_ros.visualization import draw_overlay

__version__ = "0.1.0"

__all__ = [
    "Camera",
    "Detections",
    "Frame",
    "InstanceSegmentationModel",
    "ObjectSpec",
    "Settings",
    "draw_overlay",
    "load_model",
    "load_settings",
    "read_frame",
]

_MODULES = {
    "Camera": "ism_ros.data.camera",
    "Detections": "ism_ros.data.detections",
    "Frame": "ism_ros.data.frame",
    "InstanceSegmentationModel": "ism_ros.model",
    "ObjectSpec": "ism_ros.objects.spec",
    "Settings": "ism_ros.config.settings",
    "draw_overlay": "ism_ros.visualization",
    "load_model": "ism_ros.loading",
    "load_settings": "ism_ros.config.sources",
    "read_frame": "ism_ros.io.frame_files",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'ism_ros' has no attribute '{name}'; it has {', '.join(__all__)}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*globals(), *__all__])
