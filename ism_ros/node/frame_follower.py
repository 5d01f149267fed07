"""The way of a frame with `tracking: pose`: followed at once, searched when there is time; what is found is merged."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from ism_ros.config.settings import Settings
from ism_ros.data.detections import Detections
from ism_ros.model import InstanceSegmentationModel
from ism_ros.node.frame_processor import ConvertedFrame, FrameProcessor, ProcessedFrame
from ism_ros.node.inputs.frame_subscriber import SyncedFrame
from ism_ros.runtime.threads import set_num_threads
from ism_ros.tracking.pose_tracker import PoseTracker

SEARCH_SHARE = 0.6
"""Share of one core that the search takes while instances are followed."""
SWITCH_INTERVAL_S = 0.001
"""Time after which a thread that runs Python gives way to another, seconds: the search to the following."""


class FrameFollower:
    """Follows instances on one thread and takes over what another one finds."""

    def __init__(self, processor: FrameProcessor, search: Callable[[ConvertedFrame], None]) -> None:
        """Start without instances.

        Args:
            processor: Converts and searches frames.
            search: Receives each frame, to be searched when there is time.
        """
        self._processor = processor
        self._search = search
        self._tracker = PoseTracker()
        self._found: deque[tuple[Detections, int]] = deque()
        self._search_s = 0.0
        self._is_reset = threading.Event()
        self._merged_ns: list[int] = []

    def follow(
        self, arrived: SyncedFrame, model: InstanceSegmentationModel
    ) -> tuple[ConvertedFrame, ProcessedFrame] | None:
        """Follow the instances into a frame, on the thread of the following.

        Args:
            arrived: Its messages.
            model: Has the library.

        Returns:
            The frame and what is followed in it; None where it was rejected.
        """
        set_num_threads(1)
        sys.setswitchinterval(min(SWITCH_INTERVAL_S, sys.getswitchinterval()))
        converted = self._processor.convert(arrived, is_followed=True)
        if converted is None:
            return None
        self._search(converted)
        began_s = time.perf_counter()
        if self._is_reset.is_set():
            self._is_reset.clear()
            self._found.clear()
            self._tracker.reset()
        self._merge(model)
        followed = self._tracker.follow(converted.frame, model.library)
        following_s = time.perf_counter() - began_s
        stage_s = {**converted.stage_s, "following": following_s}
        return converted, ProcessedFrame(converted.frame, followed.detections, following_s, stage_s, followed.lost)

    def search(self, converted: ConvertedFrame, model: InstanceSegmentationModel, settings: Settings) -> ProcessedFrame:
        """Search a frame, on the thread of the model, and hand over what is found.

        Args:
            converted: The frame.
            model: Finds instances.
            settings: Thresholds and scoring.

        Returns:
            What was found.
        """
        threads, model.threads = model.threads, 1
        try:
            processed = self._processor.search(converted, model, settings)
        finally:
            model.threads = threads
        self._search_s = processed.inference_s
        self._found.append((processed.detections.to("cpu"), converted.frame.stamp_ns))
        return processed

    def search_period_s(self) -> float:
        """Return the time from the start of one search to that of the next: none while nothing is followed."""
        return self._search_s / SEARCH_SHARE if self._tracker.instances else 0.0

    def take_merged(self) -> list[int]:
        """Return the stamps of the searched frames whose results are in what was followed since the last call."""
        merged, self._merged_ns = self._merged_ns, []
        return merged

    def reset(self) -> None:
        """Forget all instances before the next frame; from any thread."""
        self._is_reset.set()

    def _merge(self, model: InstanceSegmentationModel) -> None:
        while self._found:
            detections, stamp_ns = self._found.popleft()
            self._tracker.merge(detections, stamp_ns, model.library)
            self._merged_ns.append(stamp_ns)
