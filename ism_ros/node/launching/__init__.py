"""What launch files use: optional parts, placement of cameras on devices, and rviz2."""
