"""ROS 2 on a bare machine: everything that the package needs, under .ros2/ of the checkout.

Started by ../bootstrap.py. Only the standard library is used, and nothing newer than Python 3.8: the setup may be
started by another Python than the one that the virtual environment is made from.
"""
