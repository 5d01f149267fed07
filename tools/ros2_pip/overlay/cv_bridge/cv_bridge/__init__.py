"""CvBridge: between sensor_msgs images and NumPy arrays as OpenCV uses them.

The public Python interface of the ROS package of this name. The real package, where it is installed,
takes its place.
"""

from .color import cvtColorForDisplay
from .core import CvBridge, CvBridgeError
from .encodings import getCvType

__all__ = ["CvBridge", "CvBridgeError", "cvtColorForDisplay", "getCvType"]
