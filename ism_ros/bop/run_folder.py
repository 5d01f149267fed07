"""What has been found so far, one file an image, so that a run that was stopped goes on where it was.

FOLDER/run.json says what made the results: settings, models, program. Results of different makings are never mixed.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ism_ros.bop.dataset import BopDataset, ImageKey
from ism_ros.bop.files import BopFileError, Fields, picked, read_json, write_json
from ism_ros.bop.predictions import Prediction
from ism_ros.checks.input_warnings import InputWarning
from ism_ros.objects.stores.cache_keys import cad_key

ENGINE_FOLDERS = (
    *("cad", "checkpoints", "checks", "config", "data", "descriptors", "io", "matching", "networks", "objects", "pose"),
    *("rendering", "runtime", "segmentors"),
)
"""Folders of the package whose code decides what is found, beside the modules at its top."""


class RunError(ValueError):
    """A folder of results that cannot be gone on with; the message says why and what to do."""


@dataclass(frozen=True)
class ImageResult:
    """What was found in one image. stage_s: seconds spent in each stage, in order; they add up to the image's time.
    warnings: doubts about its files and the objects.
    """

    image: ImageKey
    predictions: list[Prediction]
    stage_s: dict[str, float]
    warnings: tuple[InputWarning, ...] = ()

    @property
    def time_s(self) -> float:
        return sum(self.stage_s.values())


@dataclass(frozen=True)
class RunFolder:
    """Results on disk."""

    folder: Path

    def read(self, image: ImageKey) -> ImageResult | None:
        """What was found in `image`; None where it has not been looked at, or its file is damaged."""
        path = self._path(image)
        if not path.is_file():
            return None
        try:
            fields: Fields = {"stage_s": dict, "predictions": list, "warnings": _warnings}
            content = picked(path, "the file", read_json(path, dict, "results"), fields)
        except BopFileError:
            return None
        return ImageResult(image, content["predictions"], content["stage_s"], content["warnings"])

    def write(self, result: ImageResult) -> None:
        """Keeps the result, whole or not at all."""
        warnings = [asdict(warning) for warning in result.warnings]
        content = {"stage_s": result.stage_s, "predictions": result.predictions, "warnings": warnings}
        write_json(self._path(result.image), content)

    def _path(self, image: ImageKey) -> Path:
        return self.folder / "images" / f"{image.scene_id:06d}_{image.image_id:06d}.json"


def _warnings(value: Any) -> tuple[InputWarning, ...]:
    return tuple(InputWarning(str(entry["reason"]), str(entry["text"])) for entry in value)


def making(dataset: BopDataset, settings: dict[str, Any], program: str) -> dict[str, Any]:
    """All that results depend on. settings: by name. program: changes when the program does."""
    made: dict[str, Any] = {"dataset": dataset.name, "split": dataset.split, "sensor": dataset.sensor}
    made |= {f"setting {name}": value for name, value in settings.items()}
    made |= {f"model {path.name}": cad_key(path, "mm") for path in dataset.models.values()}
    return {**made, "program": program}


def program_digest(package: Path) -> str:
    """Compute a digest that changes with every change to the code that finds things.

    Args:
        package: Folder of the package's sources.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=8)
    files = [*package.glob("*.py"), *(path for folder in ENGINE_FOLDERS for path in (package / folder).rglob("*.py"))]
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def open_run(folder: Path, made: dict[str, Any], restart: bool = False) -> RunFolder:
    """The folder for results of this making: a new one, or one to go on with.

    restart: throw away what it holds. Raises RunError where it holds results of another making.
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
    """The first few things that differ, in words; "" where nothing does."""
    names = [name for name in dict.fromkeys([*now, *before]) if before.get(name) != now.get(name)]
    words = []
    for name in names[:3]:
        if name == "program" or name.startswith("model "):
            words.append(f"the {name} is another one" if name in before and name in now else f"{name} is new or gone")
        else:
            words.append(f"{name} was {before.get(name)!r} and is {now.get(name)!r}")
    return ", ".join(words) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
