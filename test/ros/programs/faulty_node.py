"""`ism_node` itself, with stages that fail on demand though no model has a part in them, see faulty_models.py.

{"stream": "raise"}               the next activate meets an error that nobody foresaw
{"conversion": "raise"}           so does a frame, or "block", or "out_of_memory"; also "publishing"
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from faulty_models import suffer

import ism_ros.node.frame_processor as frame_processor
import ism_ros.node.node as ism_node
import ism_ros.node.outputs.result_publishers as outputs
from ism_ros.node.main import main


def faulty(function: Callable[..., Any], stage: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def failing(*arguments: Any, **named: Any) -> Any:
        suffer(stage)
        return function(*arguments, **named)

    return failing


frame_processor.frame_from_messages = faulty(frame_processor.frame_from_messages, "conversion")
outputs.detection_array = faulty(outputs.detection_array, "publishing")
ism_node.FrameSubscriber = faulty(ism_node.FrameSubscriber, "stream")

if __name__ == "__main__":
    main()
