"""Results of an evaluation so far, one file an image, so that a run that was stopped is resumed.

FOLDER/run.json says what the results depend on: settings, models, program. Results that depend on different things are
never mixed.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ism_ros.bop.dataset import BopDataset, ImageKey
from ism_ros.bop.files import BopFileError, Fields, pick_fields, read_json, write_json
from ism_ros.bop.predictions import Prediction
from ism_ros.checks.input_warnings import InputWarning
from ism_ros.objects.stores.cache_keys import cad_key

ENGINE_FOLDERS = (
    *("cad", "checkpoints", "checks", "config", "data", "descriptors", "io", "matching", "networks", "objects", "pose"),
    *("refinement", "registration", "rendering", "result_checks", "runtime", "segmentors", "shape_search"),
    "verification",
)
"""Folders of the package whose code decides what is found, with the modules at its top."""
ENGINE_FILES = ("bop/dataset.py", "bop/predictions.py", "checkpoints/shipped_weights/sha256.json")
"""What else decides: how frames are read and results are kept, and the hashes of the weights of `tiny`."""


class RunError(ValueError):
    """A folder of results with which a run cannot be resumed; the message says why and what to do."""


@dataclass(frozen=True)
class ImageResult:
    """Detections of one image.

    Attributes:
        image: The image.
        predictions: As of predictions.py.
        stage_s: Seconds spent in each stage, in order; they add up to the image's time.
        warnings: Doubts about its files and the objects.
    """

    image: ImageKey
    predictions: list[Prediction]
    stage_s: dict[str, float]
    warnings: tuple[InputWarning, ...] = ()

    @property
    def time_s(self) -> float:
        """Seconds spent on the image."""
        return sum(self.stage_s.values())


@dataclass(frozen=True)
class RunFolder:
    """Results on disk.

    Attributes:
        folder: The folder.
    """

    folder: Path

    def read(self, image: ImageKey) -> ImageResult | None:
        """Read the result of an image.

        Args:
            image: The image.

        Returns:
            The result; None where there is none yet, or its file is damaged.
        """
        path = self._path(image)
        if not path.is_file():
            return None
        try:
            fields: Fields = {"stage_s": dict, "predictions": list, "warnings": _warnings}
            content = pick_fields(path, "the file", read_json(path, dict, "results"), fields)
        except BopFileError:
            return None
        return ImageResult(image, content["predictions"], content["stage_s"], content["warnings"])

    def write(self, result: ImageResult) -> None:
        """Write a result, whole or not at all."""
        warnings = [asdict(warning) for warning in result.warnings]
        content = {"stage_s": result.stage_s, "predictions": result.predictions, "warnings": warnings}
        write_json(self._path(result.image), content)

    def _path(self, image: ImageKey) -> Path:
        return self.folder / "images" / f"{image.scene_id:06d}_{image.image_id:06d}.json"


def _warnings(value: Any) -> tuple[InputWarning, ...]:
    return tuple(InputWarning(str(entry["reason"]), str(entry["text"])) for entry in value)


def run_inputs(dataset: BopDataset, settings: dict[str, Any], program: str) -> dict[str, Any]:
    """Collect all that results depend on.

    Args:
        dataset: The dataset.
        settings: By name.
        program: Digest of the program.

    Returns:
        Values by name, for run.json.
    """
    made: dict[str, Any] = {"dataset": dataset.name, "split": dataset.split, "sensor": dataset.sensor}
    made |= {f"setting {name}": value for name, value in settings.items()}
    made |= {f"model {path.name}": cad_key(path, "mm") for path in dataset.models.values()}
    return {**made, "program": program}


def program_digest(package: Path) -> str:
    """Compute a digest that changes with every change to the code that finds things, and to its weights.

    Args:
        package: Folder of the package's sources.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=8)
    patterns = ("*.py", *(f"{folder}/**/*.py" for folder in ENGINE_FOLDERS), *ENGINE_FILES)
    for path in sorted(path for pattern in patterns for path in package.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def open_run(folder: Path, made: dict[str, Any], restart: bool = False) -> RunFolder:
    """Open the folder of results, a new one or one to resume.

    Args:
        folder: The folder.
        made: What the results depend on, as of `run_inputs`.
        restart: Delete the results that it holds.

    Returns:
        The folder.

    Raises:
        RunError: It holds results that depend on something else.
    """
    path = folder / "run.json"
    images = folder / "images"
    if restart and images.is_dir():
        shutil.rmtree(images)
    count = len(list(images.glob("*.json"))) if images.is_dir() else 0
    if count:
        before = read_json(path, dict, "what made the results beside it") if path.is_file() else {}
        different = _difference(before, made)
        if different:
            raise RunError(
                f"{folder} holds {count} images of another run: {different}; "
                "give another --output, or --restart to throw them away"
            )
    images.mkdir(parents=True, exist_ok=True)
    write_json(path, made, indent=1)
    return RunFolder(folder)


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Name the first few things that differ, in words; empty where nothing does."""
    names = [name for name in dict.fromkeys([*now, *before]) if before.get(name) != now.get(name)]
    words = []
    for name in names[:3]:
        if name == "program" or name.startswith("model "):
            words.append(f"the {name} is another one" if name in before and name in now else f"{name} is new or gone")
        else:
            words.append(f"{name} was {before.get(name)!r} and is {now.get(name)!r}")
    return ", ".join(words) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
