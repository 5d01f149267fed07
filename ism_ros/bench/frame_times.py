"""One frame through the model again and again: time of every stage, use of the cores, memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ism_ros.bench.operation_counts import OperationCount
from ism_ros.bench.stage_operations import count_operations
from ism_ros.data.detections import Detections
from ism_ros.data.frame import Frame
from ism_ros.model import InstanceSegmentationModel
from ism_ros.query import Query
from ism_ros.runtime.machine import CoreUse, CoreWatch
from ism_ros.runtime.memory import device_peak_bytes, device_segments, peak_bytes, reset_peak, resident_bytes

CHECKS = "checks"
"""Name of what is in none of the model's stages: is depth registered, is the result doubtful."""
MB = 1_000_000
SETTLED_FRAMES = 3
"""Frames of one size after which nothing should be allocated anew."""


@dataclass(frozen=True)
class Spread:
    """Milliseconds of several frames.

    Attributes:
        median_ms: Half of the frames took no longer.
        p90_ms: Nine of ten took no longer.
        mean_ms: Sum of all by their number; those of the stages add up to that of the frame.
    """

    median_ms: float
    p90_ms: float
    mean_ms: float

    @staticmethod
    def of(values_s: Sequence[float]) -> Spread:
        """Summarize times.

        Args:
            values_s: One or more, in seconds.

        Returns:
            Their spread.
        """
        ms = 1e3 * np.asarray(values_s)
        return Spread(float(np.median(ms)), float(np.quantile(ms, 0.9)), float(ms.mean()))


@dataclass(frozen=True)
class Memory:
    """Memory in MB, of 1,000,000 bytes.

    Attributes:
        resident: Of the process, after the frames.
        peak: The most that the process has had.
        device_peak: The most that tensors on the GPU had during the frames; None without one.
        device_allocations: How often memory of the GPU was allocated anew after SETTLED_FRAMES; None without one, or
            with fewer frames.
    """

    resident: float
    peak: float
    device_peak: float | None
    device_allocations: int | None = None


@dataclass(frozen=True)
class FrameTimes:
    """What frames cost.

    Attributes:
        frames: Number of frames that were measured.
        stages: By name, in order; the last is CHECKS.
        frame: From a frame to its detections.
        frames_per_s: One after the other.
        processor_ms: Time of all cores that this process used a frame; hardly longer where others use the machine too.
        proposals: Number of proposals in the frame.
        detections: Number of detections in it.
        operations: What PyTorch is asked for in each stage, with the formats of numbers of its products.
        use: Of the cores meanwhile.
        memory: Of process and GPU.
    """

    frames: int
    stages: dict[str, Spread]
    frame: Spread
    frames_per_s: float
    processor_ms: float
    proposals: int
    detections: int
    operations: dict[str, OperationCount]
    use: CoreUse
    memory: Memory


@dataclass(eq=False)
class FrameBench:
    """Measures one frame, once each time it is told to.

    Doubts about the units of a frame in which nothing is found are left out: a camera's frames rarely have them looked
    into.

    Attributes:
        model: Finds the objects of its library.
        frame: The frame.
        object_ids: Look only for these; None = all.
    """

    model: InstanceSegmentationModel
    frame: Frame
    object_ids: Sequence[str] | None = None
    _measured: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    _counts: tuple[int, int] = (0, 0)
    _operations: dict[str, OperationCount] = field(default_factory=dict)
    _settled_segments: int | None = None
    _watch: CoreWatch = field(default_factory=CoreWatch)

    @property
    def measured(self) -> int:
        """Number of frames that were measured."""
        return len(self._measured)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Take the frame without measuring its time, count operations, proposals and detections, and start to watch."""
        model = self.model
        library = model.library if self.object_ids is None else model.library.subset(self.object_ids)
        query = Query(self.frame, library, model.settings).in_colors_of_frame().with_registered_depth()
        self._operations = count_operations(model, query)
        self._counts = len(model.propose(query).proposals), len(self._segment())
        reset_peak(model.device)
        self._watch = CoreWatch()

    def measure(self) -> None:
        """Take the frame once, and keep its times."""
        began = time.perf_counter()
        found = self._segment()
        whole_s = time.perf_counter() - began
        checks_s = max(0.0, whole_s - sum(found.stage_s.values()))
        self._measured.append((whole_s, {**found.stage_s, CHECKS: checks_s}))
        if self.measured == SETTLED_FRAMES:
            self._settled_segments = device_segments(self.model.device)

    def result(self) -> FrameTimes:
        """Summarize the frames that were measured, one or more.

        Returns:
            Their times, and what was watched since the warm-up.
        """
        use = self._watch.read()
        proposals, detections = self._counts
        whole_s, stages = [one for one, _ in self._measured], [one for _, one in self._measured]
        return FrameTimes(
            frames=self.measured,
            stages={name: Spread.of([one.get(name, 0.0) for one in stages]) for name in stages[0]},
            frame=Spread.of(whole_s),
            frames_per_s=self.measured / sum(whole_s),
            processor_ms=1e3 * use.own_s / self.measured,
            proposals=proposals,
            detections=detections,
            operations=self._operations,
            use=use,
            memory=_memory(self.model.device, self._settled_segments),
        )

    def _segment(self) -> Detections:
        return self.model.segment(self.frame, self.object_ids, with_unit_check=False)


def _memory(device: str, settled_segments: int | None) -> Memory:
    resident, device_peak, segments = resident_bytes(), device_peak_bytes(device), device_segments(device)
    allocations = None if segments is None or settled_segments is None else segments - settled_segments
    # the system notes the peak a little later than what there is
    peak = max(resident, peak_bytes())
    return Memory(resident / MB, peak / MB, None if device_peak is None else device_peak / MB, allocations)
