"""The node with a segmentor that needs a second for each frame, as a large one on a weak GPU does."""

from ism_ros.node.main import main

main()
