"""The node with a segmentor that needs a second for each frame, as a large one on a weak GPU does."""

import time

from ism_ros.node.main import main
from ism_ros.segmentors.tiny.tiny_segmentor import TinySegmentor

INFERENCE_S = 1.0
propose = TinySegmentor.propose


def slowly(self, *arguments, **named):
    until_s = time.monotonic() + INFERENCE_S
    proposals = propose(self, *arguments, **named)
    time.sleep(max(0.0, until_s - time.monotonic()))
    return proposals


TinySegmentor.propose = slowly
main()
