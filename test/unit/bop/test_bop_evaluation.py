"""Judging predictions, keeping them, and showing where they went wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from ism_ros.bop.average_precision import evaluate
from ism_ros.bop.dataset import BopDataset, ImageKey, open_dataset
from ism_ros.bop.files import BopFileError
from ism_ros.bop.ground_truth import GroundTruth
from ism_ros.bop.predictions import file_name, predictions_of, read_predictions, write_predictions
from ism_ros.bop.report.html_report import html_report
from ism_ros.bop.report.pictures import case_pictures
from ism_ros.bop.report.summary import seconds_by_stage, summarize
from ism_ros.bop.report.worst_cases import worst_cases
from ism_ros.bop.run_folder import ImageResult, RunError, open_run, run_inputs
from ism_ros.data.detections import Detections
from ism_ros.data.rle import decode_rle

Truth = Callable[..., GroundTruth]
Found = Callable[..., dict[str, Any]]
Rectangle = Callable[..., np.ndarray]
IMAGE = ImageKey(1, 0)


# --- judging ---


def test_a_perfect_answer_has_ap_1(truth_of: Truth, found: Found, rectangle: Rectangle) -> None:
    truth = truth_of((1, rectangle(0, 0)), (2, rectangle(10, 10)))
    answer = [found(1, rectangle(0, 0), 0.9), found(2, rectangle(10, 10), 0.1)]
    for task in ("segm", "bbox", "bbox_modal"):
        assert evaluate(truth, [1, 2], answer, task).scores["AP"] == pytest.approx(1)  # type: ignore[arg-type]


def test_nothing_found_is_0_and_nothing_to_be_found_is_no_number(truth_of: Truth, rectangle: Rectangle) -> None:
    assert evaluate(truth_of((1, rectangle(0, 0))), [1], []).scores["AP"] == 0
    assert math.isnan(evaluate(truth_of((1, rectangle(0, 0), True)), [1], []).scores["AP"])


def test_an_ignored_instance_is_neither_missed_nor_falsely_found(
    truth_of: Truth, found: Found, rectangle: Rectangle
) -> None:
    truth = truth_of((1, rectangle(0, 0)), (1, rectangle(16, 0), True))
    right = found(1, rectangle(0, 0), 0.5)
    assert evaluate(truth, [1], [right]).scores["AP"] == pytest.approx(1)
    with_ignored = evaluate(truth, [1], [found(1, rectangle(16, 0), 0.9), right])
    assert with_ignored.scores["AP"] == pytest.approx(1)
    assert len(with_ignored.judgements) == 1
    elsewhere = evaluate(truth, [1], [found(1, rectangle(16, 12), 0.9), right])
    assert elsewhere.scores["AP"] == pytest.approx(0.5)


def test_only_so_much_of_an_ignored_instance_is_forgiven_as_iou_says(
    truth_of: Truth, found: Found, rectangle: Rectangle
) -> None:
    """COCO forgives any piece of a crowd; an ignored instance is no crowd."""
    truth = truth_of((1, rectangle(0, 0)), (1, rectangle(16, 0), True))
    answer = [found(1, rectangle(16, 0, 2, 2), 0.9), found(1, rectangle(0, 0), 0.5)]
    assert evaluate(truth, [1], answer).scores["AP"] == pytest.approx(0.5)


def test_boxes_are_judged_against_the_whole_silhouette(truth_of: Truth, found: Found, rectangle: Rectangle) -> None:
    truth = truth_of((1, rectangle(0, 0)))
    instance = truth.instances[0]
    object.__setattr__(instance, "box_xywh", (0.0, 0.0, 16.0, 8.0))
    answer = [found(1, rectangle(0, 0), 0.5)]
    assert evaluate(truth, [1], answer, "bbox_modal").scores["AP"] == pytest.approx(1)
    assert evaluate(truth, [1], answer, "bbox").scores["AP50"] == pytest.approx(1)
    assert evaluate(truth, [1], answer, "bbox").scores["AP75"] == 0


def test_other_images_and_other_objects_do_not_count(truth_of: Truth, found: Found, rectangle: Rectangle) -> None:
    truth = truth_of((1, rectangle(0, 0)))
    others = [found(1, rectangle(9, 9), 1.0, image_id=5), found(3, rectangle(9, 9), 1.0)]
    assert evaluate(truth, [1], [*others, found(1, rectangle(0, 0), 0.5)]).scores["AP"] == pytest.approx(1)


def test_judgements_say_what_became_of_each(truth_of: Truth, found: Found, rectangle: Rectangle) -> None:
    truth = truth_of((1, rectangle(0, 0)), (1, rectangle(16, 0)), (1, rectangle(0, 12), True))
    answer = [found(1, rectangle(16, 12), 0.9), found(1, rectangle(1, 0), 0.8), found(1, rectangle(20, 0), 0.7)]
    judged = {(j.truth, j.prediction): j.iou for j in evaluate(truth, [1], answer).judgements}
    assert judged == {
        (0, 1): pytest.approx(7 / 9),
        (1, None): pytest.approx(1 / 3),
        (None, 0): 0,
        (None, 2): pytest.approx(1 / 3),
    }


def test_judgements_keep_instances_and_overlaps_together_when_ignored_ones_come_first(
    truth_of: Truth, found: Found, rectangle: Rectangle
) -> None:
    truth = truth_of((1, rectangle(0, 12), True), (1, rectangle(0, 0)), (1, rectangle(16, 0)))
    judged = evaluate(truth, [1], [found(1, rectangle(17, 0), 0.9)]).judgements
    assert {(j.truth, j.prediction) for j in judged} == {(2, 0), (1, None)}
    assert max(j.iou for j in judged) == pytest.approx(7 / 9)


# --- predictions ---


def detections(mask: np.ndarray, score: float) -> Detections:
    empty = Detections.empty(*mask.shape)
    one = {name: torch.zeros((1, *getattr(empty, name).shape[1:])) for name in ("semantic_score", "appearance_score")}
    return Detections(
        masks=torch.from_numpy(mask)[None],
        boxes_xyxy=torch.zeros((1, 4), dtype=torch.int64),
        object_index=torch.tensor([1]),
        template_index=torch.tensor([0]),
        score=torch.tensor([score]),
        geometric_score=torch.zeros(1),
        visible_ratio=torch.zeros(1),
        rotation=torch.zeros(1, 3, 3),
        translation_m=torch.zeros(1, 3),
        object_ids=("obj_000004", "obj_000007"),
        category_ids=(4, 7),
        **one,
    )


def test_predictions_are_as_bop_takes_them(rectangle: Rectangle) -> None:
    mask = rectangle(3, 5, 1, 4)
    (entry,) = predictions_of(detections(mask, 0.25), ImageKey(48, 1), time_s=0.5)
    assert {name: entry[name] for name in ("scene_id", "image_id", "category_id", "score", "time")} == {
        "scene_id": 48,
        "image_id": 1,
        "category_id": 7,
        "score": 0.25,
        "time": 0.5,
    }
    assert entry["bbox"] == [3, 5, 1, 4]
    np.testing.assert_array_equal(decode_rle(entry["segmentation"]), mask)


def test_predictions_are_read_back(tmp_path: Path, found: Found, rectangle: Rectangle) -> None:
    rows = [found(1, rectangle(0, 0), 0.5)]
    write_predictions(tmp_path / "p.json", rows)
    assert read_predictions(tmp_path / "p.json") == rows


def test_uncompressed_masks_are_read(tmp_path: Path, found: Found, rectangle: Rectangle) -> None:
    entry = {**found(1, rectangle(0, 0), 0.5), "segmentation": {"size": [2, 3], "counts": [1, 2, 3]}}
    write_predictions(tmp_path / "p.json", [entry])
    mask = decode_rle(read_predictions(tmp_path / "p.json")[0]["segmentation"])
    np.testing.assert_array_equal(mask, [[False, True, False], [True, False, False]])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"score": "high"}, "entry 0: 'score' cannot be 'high'"),
        ({"bbox": [1, 2]}, "entry 0: 'bbox' cannot be"),
        ({"segmentation": {"size": [2, 3]}}, "entry 0: 'segmentation'"),
    ],
)
def test_a_broken_prediction_is_named(
    tmp_path: Path, found: Found, rectangle: Rectangle, change: dict[str, Any], said: str
) -> None:
    write_predictions(tmp_path / "p.json", [{**found(1, rectangle(0, 0), 0.5), **change}])
    with pytest.raises(BopFileError, match=r"p\.json") as caught:
        read_predictions(tmp_path / "p.json")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("folder", "split", "name"),
    [
        ("ycbv", "test", "ism-tiny-tiny_ycbv-test.json"),
        ("tless", "test_primesense", "ism-tiny-tiny_tless-test-primesense.json"),
        ("my_own-set", "val", "ism-tiny-tiny_myownset-val.json"),
    ],
)
def test_the_file_is_called_as_the_toolkit_splits_names(folder: str, split: str, name: str) -> None:
    assert file_name("ism-tiny-tiny", BopDataset(Path(folder), split, {}, ())) == name


# --- keeping ---


def test_results_are_kept_image_by_image(tmp_path: Path, found: Found, rectangle: Rectangle) -> None:
    run = open_run(tmp_path, {"setting segmentor": "tiny"})
    assert run.read(IMAGE) is None
    result = ImageResult(IMAGE, [found(1, rectangle(0, 0), 0.5)], {"proposals": 0.2, "scores": 0.1})
    run.write(result)
    assert open_run(tmp_path, {"setting segmentor": "tiny"}).read(IMAGE) == result
    assert result.time_s == pytest.approx(0.3)


def test_a_damaged_result_is_as_none(tmp_path: Path) -> None:
    run = open_run(tmp_path, {})
    run.write(ImageResult(IMAGE, [], {}))
    (file,) = (tmp_path / "images").glob("*.json")
    file.write_text(file.read_text()[:5])
    assert run.read(IMAGE) is None


def test_results_of_other_settings_are_never_mixed(tmp_path: Path) -> None:
    open_run(tmp_path, {"setting segmentor": "tiny"}).write(ImageResult(IMAGE, [], {}))
    with pytest.raises(RunError, match=r"setting segmentor was 'tiny' and is 'sam'.*--restart"):
        open_run(tmp_path, {"setting segmentor": "sam"})
    assert open_run(tmp_path, {"setting segmentor": "tiny"}).read(IMAGE) is not None
    assert open_run(tmp_path, {"setting segmentor": "sam"}, restart=True).read(IMAGE) is None


def test_a_folder_without_results_takes_any_settings(tmp_path: Path) -> None:
    open_run(tmp_path, {"setting segmentor": "tiny"})
    open_run(tmp_path, {"setting segmentor": "sam"})


def test_a_changed_model_is_noticed_and_named(tiny: Path, tmp_path: Path) -> None:
    before = run_inputs(open_dataset(tiny), {}, "1")
    open_run(tmp_path / "out", before).write(ImageResult(IMAGE, [], {}))
    (tiny / "models" / "obj_000002.ply").write_text("ply\nformat ascii 1.0\n")
    with pytest.raises(RunError, match=r"the model obj_000002\.ply is another one"):
        open_run(tmp_path / "out", run_inputs(open_dataset(tiny), {}, "1"))


# --- showing ---


def test_worst_cases_are_the_largest_missed_the_surest_false_and_the_loosest(
    truth_of: Truth, found: Found, rectangle: Rectangle
) -> None:
    truth = truth_of((1, rectangle(0, 0, 4, 4)), (1, rectangle(10, 0)), (2, rectangle(20, 0)), (3, rectangle(0, 12)))
    answer = [
        found(2, rectangle(0, 12), 0.9),
        found(2, rectangle(22, 0), 0.6),
        found(3, rectangle(24, 14), 0.4),
        found(3, rectangle(0, 13), 0.3),
    ]
    cases = worst_cases(evaluate(truth, [1, 2, 3], answer).judgements, truth, answer, count=2)
    assert [case.truth for case in cases["missed"]] == [(1,), (0,)]
    assert [case.predictions for case in cases["false"]] == [(0,), (2,)]
    assert cases["false"][0].truth == (3,)
    assert "there is obj_000003" in cases["false"][0].detail
    assert "nothing that is in the truth" in cases["false"][1].detail
    assert [(case.truth, case.predictions) for case in cases["loose"]] == [((2,), (1,)), ((3,), (3,))]


def test_a_missed_instance_is_shown_with_what_was_found_there(
    truth_of: Truth, found: Found, rectangle: Rectangle
) -> None:
    truth = truth_of((1, rectangle(0, 0)))
    answer = [found(1, rectangle(20, 0), 0.9), found(2, rectangle(0, 0), 0.5)]
    (case,) = worst_cases(evaluate(truth, [1, 2], answer).judgements, truth, answer, count=9)["missed"]
    assert case.predictions == (1,)
    assert case.detail.endswith("taken for obj_000002")


def test_pictures_show_the_same_piece_with_the_truth_and_with_what_was_found(
    truth_of: Truth, found: Found, rectangle: Rectangle
) -> None:
    rgb = np.full((24, 32, 3), 128, np.uint8)
    truth = truth_of((1, rectangle(0, 0)))
    answer = [found(1, rectangle(20, 12), 0.9)]
    (case,) = worst_cases(evaluate(truth, [1], answer).judgements, truth, answer, count=1)["false"]
    pair = case_pictures(rgb, case, truth, answer, threshold=0.7)
    wanted, shown = (cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).astype(int) for jpeg in pair)
    assert wanted.shape == shown.shape
    # nothing of the truth is what the case is about, so it is outlined only
    filled = [np.ptp(picture, axis=2) > 40 for picture in (wanted, shown)]
    assert filled[0].mean() < 0.001 < 0.03 < filled[1].mean()


def test_times_are_given_by_stage_and_together() -> None:
    seconds = seconds_by_stage([ImageResult(IMAGE, [], {"a": 1.0, "b": s}) for s in (1.0, 2.0, 6.0)])
    assert list(seconds) == ["a", "b", "together"]
    assert (seconds["b"].mean, seconds["b"].median, seconds["b"].most) == (3.0, 2.0, 6.0)
    assert seconds["together"].median == 3.0


@pytest.fixture
def page(truth_of: Truth, found: Found, rectangle: Rectangle) -> str:
    truth = truth_of((1, rectangle(0, 0)), (1, rectangle(16, 12), True))
    answer = [found(1, rectangle(0, 0), 0.9), found(1, rectangle(16, 0), 0.4)]
    dataset = BopDataset(Path("tiny"), "test", {1: Path("a"), 2: Path("b")}, (IMAGE,))
    summary = summarize(dataset, truth, [ImageResult(IMAGE, answer, {"all": 0.25})], threshold=0.5)
    cases = worst_cases(summary.tasks["segm"].judgements, truth, answer, count=3)
    rgb = np.zeros((24, 32, 3), np.uint8)
    drawn = {kind: [(c, case_pictures(rgb, c, truth, answer, 0.5)) for c in rows] for kind, rows in cases.items()}
    return html_report("a <b> & c", "about", summary, drawn, {"segmentor": "<depth>"})


def test_the_report_needs_nothing_else(page: str) -> None:
    assert "http" not in page
    assert page.count("<img") == page.count('src="data:image/jpeg;base64,') == 2
    assert "url(" not in page
    assert "<script" not in page


def test_the_report_shows_text_as_text(page: str) -> None:
    assert "a &lt;b&gt; &amp; c" in page
    assert "&lt;depth&gt;" in page


def test_the_report_has_a_dash_for_objects_that_do_not_occur(page: str) -> None:
    row = page[page.index("obj_000002") :].split("</tr>")[0]
    assert "<td>0</td><td>-</td>" in row


def test_scores_have_null_where_there_is_no_number(truth_of: Truth, rectangle: Rectangle) -> None:
    dataset = BopDataset(Path("tiny"), "test", {1: Path("a"), 2: Path("b")}, (IMAGE,))
    summary = summarize(dataset, truth_of((1, rectangle(0, 0))), [ImageResult(IMAGE, [], {"all": 0.1})], 0.5)
    content = json.loads(json.dumps(summary.as_json(), allow_nan=False))
    assert content["segm"]["AP"] == 0
    assert content["segm"]["AP_large"] is None
    assert content["objects"]["obj_000002"]["segm"]["AP"] is None
    assert content["images_without_detection"] == 1


def test_found_and_false_count_from_the_threshold_on(truth_of: Truth, found: Found, rectangle: Rectangle) -> None:
    truth = truth_of((1, rectangle(0, 0)), (1, rectangle(16, 0)))
    answer = [found(1, rectangle(0, 0), 0.9), found(1, rectangle(16, 0), 0.4), found(1, rectangle(16, 12), 0.5)]
    dataset = BopDataset(Path("tiny"), "test", {1: Path("a")}, (IMAGE,))
    summary = summarize(dataset, truth, [ImageResult(IMAGE, answer, {"all": 0.1})], threshold=0.5)
    assert (summary.objects[0].found, summary.objects[0].false) == (1, 1)
    at_zero, at_one = summary.operating[0], summary.operating[-1]
    assert (at_zero.precision, at_zero.recall) == (pytest.approx(2 / 3), 1.0)
    assert at_one.recall == 0
