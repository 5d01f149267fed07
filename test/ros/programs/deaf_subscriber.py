"""Subscribes to all results of a node and never reads one, until stdin closes. Argument: the namespace."""

import sys

import rclpy
from ism_ros.msg import InstanceMaskArray
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

rclpy.init(args=[])
node = Node("deaf", namespace=sys.argv[1])
everything = QoSProfile(history=HistoryPolicy.KEEP_ALL, depth=0, reliability=ReliabilityPolicy.RELIABLE)
for topic, kind in (
    ("detections", Detection2DArray), ("masks", InstanceMaskArray), ("mask_image", Image), ("overlay", Image)
):  # fmt: skip
    node.create_subscription(kind, f"ism/{topic}", lambda message: None, everything)
print("ready", flush=True)
sys.stdin.read()
