"""Numbers of one evaluation, as they are written to scores.json, printed and shown in the report."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ism_ros.bop.average_precision import TASKS, Evaluation, Task, evaluate
from ism_ros.bop.dataset import BopDataset, object_name
from ism_ros.bop.ground_truth import GroundTruth
from ism_ros.bop.predictions import Prediction
from ism_ros.bop.run_folder import ImageResult
from ism_ros.checks.input_warnings import InputWarning


@dataclass(frozen=True)
class ObjectRow:
    """Numbers of one object.

    Attributes:
        name: Id of the object.
        instances: Number of instances that are not ignored.
        segm: AP, AP50, AP75 and AR100 of masks.
        bbox: The same of amodal boxes.
        found: Instances found, at IoU 0.5 and the threshold for publishing.
        false: False detections, at the same.
    """

    name: str
    instances: int
    segm: dict[str, float]
    bbox: dict[str, float]
    found: int
    false: int


@dataclass(frozen=True)
class Seconds:
    """Time spent on one stage of an image, seconds.

    Attributes:
        mean: Mean over the images.
        median: Median.
        ninety_percent: 90th percentile.
        most: Maximum.
    """

    mean: float
    median: float
    ninety_percent: float
    most: float


@dataclass(frozen=True)
class OperatingPoint:
    """Precision and recall at IoU 0.5 of what would be published at one threshold of the score.

    Attributes:
        threshold: Of the score.
        precision: Fraction of the published detections that are right; NaN where there are none.
        recall: Fraction of the instances that are found.
    """

    threshold: float
    precision: float
    recall: float


@dataclass(frozen=True)
class CountedWarning:
    """One doubt about the images or objects.

    Attributes:
        reason: Short stable word.
        text: Sentence of the first of the images.
        images: Number of images that it is about.
    """

    reason: str
    text: str
    images: int


@dataclass(frozen=True)
class Summary:
    """Numbers of one evaluation.

    Attributes:
        images: Number of images.
        instances: Number of instances to be found.
        ignored: Number of instances that are ignored.
        detections: Number of detections.
        images_without: Number of images in which nothing was found.
        threshold: Score from which on detections are published.
        tasks: Evaluation of each of TASKS.
        objects: Numbers of each object.
        seconds: By stage, the whole under "together".
        operating: By threshold, from 0 to 1.
        warnings: Doubts about images and objects.
    """

    images: int
    instances: int
    ignored: int
    detections: int
    images_without: int
    threshold: float
    tasks: dict[Task, Evaluation]
    objects: tuple[ObjectRow, ...]
    seconds: dict[str, Seconds]
    operating: tuple[OperatingPoint, ...]
    warnings: tuple[CountedWarning, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Convert to numbers for JSON; null where there is no number."""
        return {
            "images": self.images,
            "instances": self.instances,
            "ignored_instances": self.ignored,
            "detections": self.detections,
            "images_without_detection": self.images_without,
            "warnings": [asdict(warning) for warning in self.warnings],
            **{task: _plain(evaluation.scores) for task, evaluation in self.tasks.items()},
            "objects": {
                row.name: {
                    "instances": row.instances,
                    "segm": _plain(row.segm),
                    "bbox": _plain(row.bbox),
                    "found": row.found,
                    "false": row.false,
                }
                for row in self.objects
            },
            "found_and_false_at_score": self.threshold,
            "time_s": {stage: _plain(vars(seconds)) for stage, seconds in self.seconds.items()},
        }


def summarize(
    dataset: BopDataset,
    truth: GroundTruth,
    results: Sequence[ImageResult],
    threshold: float,
) -> Summary:
    """Evaluate the results of all images of a dataset.

    Args:
        dataset: The dataset.
        truth: Its true instances.
        results: One an image.
        threshold: Score from which on detections are published.

    Returns:
        The numbers.
    """
    predictions = [entry for result in results for entry in result.predictions]
    tasks = {task: evaluate(truth, dataset.models, predictions, task) for task in TASKS}
    return Summary(
        images=len(results),
        instances=_instances(truth, dataset),
        ignored=sum(instance.ignored for instance in truth.instances),
        detections=len(predictions),
        images_without=sum(not result.predictions for result in results),
        threshold=threshold,
        tasks=tasks,
        objects=tuple(_object_rows(dataset, truth, predictions, tasks, threshold)),
        seconds=seconds_by_stage(results),
        operating=tuple(_operating(tasks["segm"], predictions, _instances(truth, dataset))),
        warnings=count_warnings(results),
    )


def count_warnings(results: Sequence[ImageResult]) -> tuple[CountedWarning, ...]:
    """Count the images of each warning; those that differ in numbers alone count together.

    Args:
        results: One an image.

    Returns:
        The warnings, the most frequent first.
    """
    first: dict[tuple[str, str], InputWarning] = {}
    images: Counter[tuple[str, str]] = Counter()
    for result in results:
        # numbers within names, as in obj_000001, tell objects apart
        kinds = {(one.reason, re.sub(r"(?<!\w)[\d.]+(e[+-]?\d+)?", "0", one.text)): one for one in result.warnings}
        images.update(kinds.keys())
        first = {**kinds, **first}
    return tuple(CountedWarning(first[kind].reason, first[kind].text, count) for kind, count in images.most_common())


def seconds_by_stage(results: Sequence[ImageResult]) -> dict[str, Seconds]:
    """Summarise the time of each stage and of all together.

    Args:
        results: One an image.

    Returns:
        By stage; empty without results.
    """
    if not results:
        return {}
    stages = dict.fromkeys(stage for result in results for stage in result.stage_s)
    spent = {stage: [result.stage_s.get(stage, 0.0) for result in results] for stage in stages}
    spent["together"] = [result.time_s for result in results]
    return {
        stage: Seconds(
            float(np.mean(seconds)), float(np.median(seconds)), float(np.percentile(seconds, 90)), max(seconds)
        )
        for stage, seconds in spent.items()
    }


def _object_rows(
    dataset: BopDataset,
    truth: GroundTruth,
    predictions: Sequence[Prediction],
    tasks: dict[Task, Evaluation],
    threshold: float,
) -> list[ObjectRow]:
    found: dict[int, int] = dict.fromkeys(dataset.models, 0)
    false: dict[int, int] = dict.fromkeys(dataset.models, 0)
    for judgement in tasks["segm"].judgements:
        if judgement.prediction is None or predictions[judgement.prediction]["score"] < threshold:
            continue
        counted = false if judgement.truth is None else found
        counted[predictions[judgement.prediction]["category_id"]] += 1
    nothing = dict.fromkeys(("AP", "AP50", "AP75", "AR100"), float("nan"))
    return [
        ObjectRow(
            object_name(number),
            sum(instance.object_id == number and not instance.ignored for instance in truth.instances),
            tasks["segm"].by_object.get(number, nothing),
            tasks["bbox"].by_object.get(number, nothing),
            found[number],
            false[number],
        )
        for number in dataset.models
    ]


def _instances(truth: GroundTruth, dataset: BopDataset) -> int:
    """Count the instances to be found."""
    return sum(not instance.ignored and instance.object_id in dataset.models for instance in truth.instances)


def _operating(segm: Evaluation, predictions: Sequence[Prediction], instances: int) -> list[OperatingPoint]:
    judged = [j for j in segm.judgements if j.prediction is not None]
    scores = np.array([predictions[j.prediction]["score"] for j in judged if j.prediction is not None], float)
    right = np.array([j.truth is not None for j in judged], bool)
    rows = []
    for threshold in np.linspace(0, 1, 51):
        shown = scores >= threshold - 1e-9
        precision = float(right[shown].mean()) if shown.any() else float("nan")
        rows.append(OperatingPoint(float(threshold), precision, float(right[shown].sum() / max(instances, 1))))
    return rows


def _plain(values: dict[str, float]) -> dict[str, float | None]:
    return {name: None if value != value else value for name, value in values.items()}
