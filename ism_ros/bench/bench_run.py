"""All that one run of `ism bench` measured, as the JSON that it writes and reads."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ism_ros import __version__
from ism_ros.bench.frame_times import FrameTimes
from ism_ros.bench.onboarding_times import OnboardingTimes
from ism_ros.config.settings import Settings
from ism_ros.data.frame import Frame
from ism_ros.model import InstanceSegmentationModel
from ism_ros.runtime.machine import instruction_set, multiplies_in_bfloat16, processor_name


class BenchFileError(ValueError):
    """A file that no `ism bench` wrote; the message is one line that names it."""


@dataclass(frozen=True)
class MachineFacts:
    """The machine.

    Attributes:
        processor: Its name.
        instructions: Largest instruction set that PyTorch uses of it.
        bfloat16: Whether it multiplies in bfloat16.
        threads: Threads of PyTorch.
        gpu: Name of the GPU that models ran on; None = on the processor.
        torch: Version of PyTorch.
        cuda: Version of CUDA that it is made for; None = none.
    """

    processor: str
    instructions: str
    bfloat16: bool
    threads: int
    gpu: str | None
    torch: str
    cuda: str | None

    @staticmethod
    def of(model: InstanceSegmentationModel) -> MachineFacts:
        """Look at the machine that a model runs on."""
        gpu = torch.cuda.get_device_name(model.device) if model.device.startswith("cuda") else None
        facts = processor_name(), instruction_set(), multiplies_in_bfloat16(), model.threads
        return MachineFacts(*facts, gpu, torch.__version__, torch.version.cuda)

    @property
    def place(self) -> str:
        """What the models ran on."""
        return self.gpu or f"{self.processor}, {self.instructions}{' with bfloat16' if self.bfloat16 else ''}"


@dataclass(frozen=True)
class FrameFacts:
    """The frame.

    Attributes:
        source: Where it came from, in words.
        width: Pixels.
        height: Pixels.
        has_depth: Whether it has depth.
        objects: Number of objects that were looked for.
    """

    source: str
    width: int
    height: int
    has_depth: bool
    objects: int

    @staticmethod
    def of(source: str, frame: Frame, objects: int) -> FrameFacts:
        """Describe a frame."""
        return FrameFacts(source, frame.width, frame.height, frame.depth_m is not None, objects)


@dataclass(frozen=True)
class ModelFacts:
    """The models.

    Attributes:
        segmentor: As of Settings; so are all others.
        descriptor: See there.
        scoring: See there, with auto resolved.
        runtime: See there.
        device: See there, with auto resolved.
    """

    segmentor: str
    descriptor: str
    scoring: str
    runtime: str
    device: str

    @staticmethod
    def of(settings: Settings) -> ModelFacts:
        """Read them from settings."""
        segmentor = " ".join(filter(None, (settings.segmentor, settings.segmentor_model)))
        descriptor = " ".join(filter(None, (settings.descriptor, settings.descriptor_model)))
        rest = settings.resolved_scoring(), settings.runtime, settings.resolved_device()
        return ModelFacts(segmentor, descriptor, *rest)

    def __str__(self) -> str:
        runtime = "" if self.runtime == "torch" else f", {self.runtime}"
        return f"{self.segmentor} + {self.descriptor}, {self.scoring}{runtime}"


@dataclass(frozen=True)
class StartTimes:
    """Seconds until frames can come.

    Attributes:
        import_s: Python's modules, PyTorch among them; nearly nothing where they were imported before.
        models_s: The networks.
        objects_s: The objects.
        rendered: Number of objects that were not in the cache.
    """

    import_s: float
    models_s: float
    objects_s: float
    rendered: int


@dataclass(frozen=True)
class BenchRun:
    """One run.

    Attributes:
        label: Name of the run in pictures and comparisons.
        models: The models.
        machine: The machine.
        frame: The frame.
        start: The start.
        onboarding: Of the first object; None = not measured.
        times: Of the frames.
        load: Load average of the last minute; that of this run is in it.
        ended_early: Why fewer frames were measured than were asked for; empty where all were.
        version: Of this package.
    """

    label: str
    models: ModelFacts
    machine: MachineFacts
    frame: FrameFacts
    start: StartTimes
    onboarding: OnboardingTimes | None
    times: FrameTimes
    load: float
    ended_early: str
    version: str = __version__

    @property
    def is_contended(self) -> bool:
        """Whether others took cores that the models wanted, so that times are too long."""
        return self.times.use.is_contended(self.machine.threads)

    def as_json(self) -> dict[str, Any]:
        """Convert to what JSON can hold; names are those of the fields."""
        return asdict(self)


@dataclass(frozen=True)
class StageBar:
    """What pictures and comparisons show of a run.

    Attributes:
        label: Name of the run.
        place: What the models ran on.
        stage_ms: Median of each stage, in order.
        frame_ms: Median of the frame.
        frames_per_s: One after the other.
    """

    label: str
    place: str
    stage_ms: dict[str, float]
    frame_ms: float
    frames_per_s: float

    @staticmethod
    def of(run: BenchRun) -> StageBar:
        """Take it from a run."""
        stages = {name: spread.median_ms for name, spread in run.times.stages.items()}
        return StageBar(run.label, run.machine.place, stages, run.times.frame.median_ms, run.times.frames_per_s)


def read_stage_bar(path: Path) -> StageBar:
    """Read what an earlier run wrote.

    Args:
        path: Its bench.json.

    Returns:
        What pictures show of it.

    Raises:
        BenchFileError: It cannot be read, or is no such file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        times, machine = content["times"], MachineFacts(**content["machine"])
        stages = {str(name): float(spread["median_ms"]) for name, spread in times["stages"].items()}
        whole = float(times["frame"]["median_ms"]), float(times["frames_per_s"])
        return StageBar(str(content["label"]), machine.place, stages, *whole)
    except OSError as error:
        raise BenchFileError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise BenchFileError(f"{path} is no file that ism bench wrote: give the bench.json of an --output") from None
