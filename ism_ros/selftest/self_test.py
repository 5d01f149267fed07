"""Self-test: whether the chosen models find what is known to be in the sample scene.

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

from ism_ros.errors import first_line
from ism_ros.runtime.threads import configure_thread_env
from ism_ros.selftest.sample_files import SCENE, read_sample_frame, read_sample_labels

if TYPE_CHECKING:
    from ism_ros.config.settings import Settings

MIN_IOU = 0.5
"""Mask IoU from which on an object counts as found."""

EXPECTED: Mapping[tuple[str, str], Mapping[str, tuple[float, float]]] = {
    ("tiny", "tiny"): {"carton": (0.919, 0.953), "banana": (0.941, 0.949)},
}
"""Expected results of models without a download: by segmentor and descriptor, each object's score and mask IoU.

Of models with checkpoints only MIN_IOU is known.
"""

LENIENT: Mapping[str, float] = {"score_threshold": 0.0, "predicted_iou_threshold": 0.8}
"""Thresholds for models without an expected result: their scores are not known, and SAM 2 predicts lower IoU than SAM
does."""

TOLERANCE = 0.03
"""Difference that scores and IoU may have from the expected ones: images are decoded, and sums are added up, in
another way on another machine."""


@dataclass(frozen=True)
class ObjectResult:
    """The best detection of one object that is in the scene.

    Attributes:
        object_id: Id of the object.
        score: Its final score; NaN where it was not detected.
        iou: Mask IoU with the truth; NaN where it was not detected.
    """

    object_id: str
    score: float
    iou: float


@dataclass(frozen=True)
class SelfTestResult:
    """What models found in the sample scene.

    Attributes:
        objects: One result for each object of the scene.
        seconds: Time of the one frame.
        has_expected: Whether the right scores of these models are known.
        failure: What is not as expected, in words; empty where all is.
    """

    objects: tuple[ObjectResult, ...]
    seconds: float
    has_expected: bool
    failure: str

    @property
    def passed(self) -> bool:
        """Whether all is as expected."""
        return not self.failure


class SelfTestError(RuntimeError):
    """The models could not be run; the message is one line."""


def run_self_test(
    settings: Settings, progress: Callable[[str], None] = lambda text: None, scene: Path = SCENE
) -> SelfTestResult:
    """Onboard the scene's objects with the models of `settings`, and detect them.

    Args:
        settings: Which models, where they run, and where files are.
        progress: Called with what is being done.
        scene: Folder of the sample scene, or of a changed copy.

    Returns:
        What was found, compared with the truth.

    Raises:
        SelfTestError: The result has other shapes or types than it must have.
        Exception: What load_model and the models raise.
    """
    from ism_ros.loading import load_model

    frame = read_sample_frame(scene)
    labels = read_sample_labels(scene)
    model = load_model(self_test_settings(settings, scene), progress)
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
            found.append(ObjectResult(object_id, math.nan, math.nan))
            continue
        iou = float((masks[best] & truth).sum() / (masks[best] | truth).sum())
        found.append(ObjectResult(object_id, scores[best], iou))
    expected = EXPECTED.get((settings.segmentor, settings.descriptor))
    seconds = sum(detections.stage_s.values())
    return SelfTestResult(tuple(found), seconds, expected is not None, describe_failures(found, expected))


def self_test_settings(settings: Settings, scene: Path = SCENE) -> Settings:
    """Adapt settings to the sample scene: its objects, and the thresholds and scoring of the expected results.

    Args:
        settings: Those of the user.
        scene: Folder of the sample scene.

    Returns:
        The settings with thresholds and scoring at their defaults, or LENIENT where no result is expected.
    """
    names = [name for name in type(settings).model_fields if "threshold" in name or name == "scoring"]
    changes = {name: type(settings).model_fields[name].default for name in names}
    if (settings.segmentor, settings.descriptor) not in EXPECTED:
        changes.update(LENIENT)
    return settings.model_copy(update={**changes, "objects_file": str(scene / "objects.yaml")})


def describe_failures(found: list[ObjectResult], expected: Mapping[str, tuple[float, float]] | None) -> str:
    """Say in words what is not as expected.

    Args:
        found: One result for each object.
        expected: Each object's score and IoU; None = not known.

    Returns:
        Clauses separated by semicolons; empty where all is as expected.
    """
    failures = []
    for one in found:
        if math.isnan(one.iou):
            failures.append(f"{one.object_id} is not found")
        elif not math.isfinite(one.score):
            failures.append(f"the score of {one.object_id} is {one.score}")
        elif one.iou < MIN_IOU:
            failures.append(f"the best {one.object_id} is somewhere else (IoU {one.iou:.2f})")
        elif expected is not None:
            score, iou = expected[one.object_id]
            if abs(one.score - score) > TOLERANCE or abs(one.iou - iou) > TOLERANCE:
                failures.append(
                    f"{one.object_id} has score {one.score:.3f} and IoU {one.iou:.2f} instead of {score} and {iou}"
                )
    return "; ".join(failures)


def run_in_subprocess(
    settings: Mapping[str, Any], progress: Callable[[str], None] = lambda text: None
) -> SelfTestResult:
    """Run the self-test in a process of its own.

    Args:
        settings: As Settings takes them.
        progress: Called with what is being done.

    Returns:
        As of `run_self_test`.

    Raises:
        SelfTestError: The models could not be run, or the process was killed; one line.
    """
    command = [sys.executable, "-m", "ism_ros.selftest.self_test", json.dumps(dict(settings))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
        assert child.stdout is not None
        last = ""
        for line in child.stdout:
            message = _message(line)
            if "progress" in message:
                progress(message["progress"])
            elif "error" in message:
                raise SelfTestError(message["error"])
            elif "objects" in message:
                return SelfTestResult(tuple(ObjectResult(**one) for one in message.pop("objects")), **message)
            else:
                last = line.strip() or last
        status = child.wait()
    if status == -9:
        raise SelfTestError("the process was killed, probably because memory ran out")
    raise SelfTestError(f"the process ended with status {status} ({last or 'without a word'})")


def _message(line: str) -> dict[str, Any]:
    """Parse a message from the other process; empty for what libraries print."""
    try:
        content = json.loads(line)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _main() -> None:
    configure_thread_env()

    def send(**message: Any) -> None:
        print(json.dumps(message), flush=True)

    try:
        from ism_ros.config.settings import Settings

        settings = Settings(**json.loads(sys.argv[1]))
        send(**asdict(run_self_test(settings, lambda text: send(progress=text))))
    except Exception as error:
        known = isinstance(error, (ValueError, OSError, SelfTestError))
        line = first_line(error)
        send(error=line if known else f"{type(error).__name__}: {line}")


if __name__ == "__main__":
    _main()
