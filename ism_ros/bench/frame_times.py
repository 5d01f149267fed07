"""One frame through the model again and again: time of every stage, use of the cores, memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ism_ros.bench.number_formats import NumberFormats
from ism_ros.data.detections import Detections
from ism_ros.data.frame import Frame
from ism_ros.model import InstanceSegmentationModel
from ism_ros.query import Query
from ism_ros.runtime.machine import CoreUse, CoreWatch
from ism_ros.runtime.memory import device_peak_bytes, peak_bytes, reset_peak, resident_bytes

CHECKS = "checks"
"""Name of what is in none of the model's stages: is depth registered, is the result doubtful."""
MB = 1_000_000


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
    """

    resident: float
    peak: float
    device_peak: float | None


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
        segmentor_formats: Formats of numbers in the segmentor's products, the most frequent first.
        descriptor_formats: The same of the descriptor.
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
    segmentor_formats: list[str]
    descriptor_formats: list[str]
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
    _formats: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))
    _watch: CoreWatch = field(default_factory=CoreWatch)

    @property
    def measured(self) -> int:
        """Number of frames that were measured."""
        return len(self._measured)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Take the frame once without measuring its time, and count proposals and detections; then start to watch."""
        model = self.model
        library = model.library if self.object_ids is None else model.library.subset(self.object_ids)
        query = Query(self.frame, library, model.settings).in_colors_of_frame().with_registered_depth()
        with NumberFormats() as in_segmentor:
            crops = model.propose(query)
        with NumberFormats() as in_descriptor:
            model.describe([crops])
        self._formats = in_segmentor.names(), in_descriptor.names()
        self._counts = len(crops.proposals), len(self._segment())
        reset_peak(model.device)
        self._watch = CoreWatch()

    def measure(self) -> None:
        """Take the frame once, and keep its times."""
        began = time.perf_counter()
        found = self._segment()
        whole_s = time.perf_counter() - began
        checks_s = max(0.0, whole_s - sum(found.stage_s.values()))
        self._measured.append((whole_s, {**found.stage_s, CHECKS: checks_s}))

    def result(self) -> FrameTimes:
        """Summarize the frames that were measured, one or more.

        Returns:
            Their times, and what was watched since the warm-up.
        """
        use, device_peak = self._watch.read(), device_peak_bytes(self.model.device)
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
            segmentor_formats=self._formats[0],
            descriptor_formats=self._formats[1],
            use=use,
            memory=_memory(device_peak),
        )

    def _segment(self) -> Detections:
        return self.model.segment(self.frame, self.object_ids, with_unit_check=False)


def _memory(device_peak: int | None) -> Memory:
    resident = resident_bytes()
    # the system notes the peak a little later than what there is
    peak = max(resident, peak_bytes())
    return Memory(resident / MB, peak / MB, None if device_peak is None else device_peak / MB)
