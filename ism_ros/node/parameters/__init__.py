"""ROS parameters: declaration, changes while the node runs, and parameter files."""
