"""A small rendered scene that comes with the package, and whether the chosen models find what is known to be in it.

    python -m ism_ros.selftest.self_test '{"device": "cpu"}'

runs it in a process of its own, so that models that crash or run out of memory take nothing else with them.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ism_ros.runtime.threads import configure_thread_env

if TYPE_CHECKING:
    from ism_ros.config.settings import Settings

SCENE = Path(__file__).parent / "sample_scene"
LEAST_IOU = 0.5
"""Mask IoU at which an object counts as found."""

STORED: Mapping[tuple[str, str], Mapping[str, tuple[float, float]]] = {
    ("tiny", "tiny"): {"carton": (0.751, 0.953), "banana": (0.729, 0.948)},
}
"""What models without weights of their own must answer: by segmentor and descriptor, each object's score and IoU.

There is no such answer for models with checkpoints: of these only what LEAST_IOU asks is known.
"""

LENIENT: Mapping[str, float] = {"score_threshold": 0.0, "predicted_iou_threshold": 0.8}
"""Thresholds for models without a stored answer: their scores are not known, and SAM 2 rates its masks lower than SAM
does (segmentors/sam2.py)."""

TOLERANCE = 0.03
"""By how much score and IoU may differ from the stored ones: pictures are decoded, and sums are added up, otherwise
on another machine."""


@dataclass(frozen=True)
class Found:
    """The best detection of one object that is in the scene. score and iou: NaN where there is none."""

    object_id: str
    score: float
    iou: float


@dataclass(frozen=True)
class Answer:
    """What models made of the scene. seconds: of the one frame. stored: whether their right scores are known."""

    found: tuple[Found, ...]
    seconds: float
    stored: bool
    wrong: str

    @property
    def passed(self) -> bool:
        return not self.wrong


class SelfTestError(RuntimeError):
    """The models could not be run; the message is one line."""


def answer(settings: Settings, progress: Callable[[str], None] = lambda text: None) -> Answer:
    """Onboard the scene's objects with the models of `settings`, and find them.

    Raises what load_model and the models raise.
    """
    import cv2

    from ism_ros.io.frame_files import read_frame
    from ism_ros.loading import load_model

    frame = read_frame(SCENE / "rgb.jpg", SCENE / "depth.png", SCENE / "camera.json")
    labels = cv2.imread(str(SCENE / "truth.png"), cv2.IMREAD_UNCHANGED)
    if labels is None:
        raise SelfTestError(f"{SCENE / 'truth.png'} is missing or damaged: install the package again")
    model = load_model(self_test_settings(settings), progress)
    progress("segmenting the scene")
    detections = model.segment(frame).to("cpu")

    masks = detections.masks.numpy()
    scores = detections.score.float().tolist()
    if masks.shape[1:] != labels.shape or masks.dtype != bool:
        raise SelfTestError(f"masks are {masks.dtype} of {masks.shape[1:]} instead of bool of {labels.shape}")
    found = []
    for number, object_id in enumerate(model.library.ids, start=1):
        truth = labels == number
        rows = [row for row in range(len(scores)) if detections.class_id(row) == object_id]
        best = max(rows, key=lambda row: scores[row], default=None)
        if best is None:
            found.append(Found(object_id, math.nan, math.nan))
            continue
        iou = float((masks[best] & truth).sum() / (masks[best] | truth).sum())
        found.append(Found(object_id, scores[best], iou))
    stored = STORED.get((settings.segmentor, settings.descriptor))
    return Answer(tuple(found), sum(detections.stage_s.values()), stored is not None, describe_failures(found, stored))


def self_test_settings(settings: Settings) -> Settings:
    """`settings` with the scene's objects, and with the thresholds and the scoring that belong to its answer: the
    defaults, whatever else is set, but LENIENT where no answer is stored."""
    names = [name for name in type(settings).model_fields if "threshold" in name or name == "scoring"]
    changes = {name: type(settings).model_fields[name].default for name in names}
    if (settings.segmentor, settings.descriptor) not in STORED:
        changes.update(LENIENT)
    return settings.model_copy(update={**changes, "objects_file": str(SCENE / "objects.yaml")})


def describe_failures(found: list[Found], stored: Mapping[str, tuple[float, float]] | None) -> str:
    """In words what is not as it should be; empty where all is."""
    faults = []
    for one in found:
        if math.isnan(one.iou):
            faults.append(f"{one.object_id} is not found")
        elif not math.isfinite(one.score):
            faults.append(f"the score of {one.object_id} is {one.score}")
        elif one.iou < LEAST_IOU:
            faults.append(f"the best {one.object_id} is somewhere else (IoU {one.iou:.2f})")
        elif stored is not None:
            score, iou = stored[one.object_id]
            if abs(one.score - score) > TOLERANCE or abs(one.iou - iou) > TOLERANCE:
                faults.append(
                    f"{one.object_id} has score {one.score:.3f} and IoU {one.iou:.2f} instead of {score} and {iou}"
                )
    return "; ".join(faults)


def run_in_subprocess(settings: Mapping[str, Any], progress: Callable[[str], None] = lambda text: None) -> Answer:
    """`answer` in a process of its own. settings: as Settings takes them.

    Raises SelfTestError with one line, also where that process was killed.
    """
    command = [sys.executable, "-m", "ism_ros.selftest.self_test", json.dumps(dict(settings))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
        assert child.stdout is not None
        last = ""
        for line in child.stdout:
            told = _message(line)
            if "progress" in told:
                progress(told["progress"])
            elif "error" in told:
                raise SelfTestError(told["error"])
            elif "found" in told:
                return Answer(tuple(Found(**one) for one in told.pop("found")), **told)
            else:
                last = line.strip() or last
        status = child.wait()
    if status == -9:
        raise SelfTestError("the process was killed, probably because memory ran out")
    raise SelfTestError(f"the process ended with status {status} ({last or 'without a word'})")


def _message(line: str) -> dict[str, Any]:
    """A line of our own from the other process; empty for what libraries print."""
    try:
        told = json.loads(line)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _main() -> None:
    configure_thread_env()

    def say(**message: Any) -> None:
        print(json.dumps(message), flush=True)

    try:
        from ism_ros.config.settings import Settings

        settings = Settings(**json.loads(sys.argv[1]))
        say(**asdict(answer(settings, lambda text: say(progress=text))))
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        known = isinstance(error, (ValueError, OSError, SelfTestError))
        say(error=lines[0] if known else f"{type(error).__name__}: {lines[0]}")


if __name__ == "__main__":
    _main()
