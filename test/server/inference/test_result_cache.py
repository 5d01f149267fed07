"""Responses that identical requests get again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ism_ros.server.inference.result_cache import ResultCache, request_key
from ism_ros.server.requests.inference_input import InferenceInput
from ism_ros.server.requests.path_object import PathObject


def answer(letters: int) -> dict[str, Any]:
    return {"detections": [], "visualization": "x" * letters}


def test_the_least_recently_used_answer_goes_first() -> None:
    cache = ResultCache(10_000)
    for name in (b"1", b"2"):
        cache.put(name, answer(3000))
    cache.get(b"1")
    cache.put(b"3", answer(3000))
    assert [cache.get(name) is not None for name in (b"1", b"2", b"3")] == [True, False, True]


@pytest.fixture
def frame() -> InferenceInput:
    return InferenceInput(rgb=b"colors", depth=b"distances", intrinsics=(600, 0, 4, 0, 600, 3, 0, 0, 1))


def changed(frame: InferenceInput, **values: Any) -> InferenceInput:
    return InferenceInput(**{**{name: getattr(frame, name) for name in InferenceInput.__dataclass_fields__}, **values})


def test_the_same_request_has_the_same_key(frame: InferenceInput) -> None:
    assert request_key(frame, 1) == request_key(changed(frame), 1)


def test_another_image_option_or_library_has_another_key(frame: InferenceInput, tmp_path: Path) -> None:
    others = [
        changed(frame, rgb=b"other colors"),
        changed(frame, rgb=b"colorsdist", depth=b"ances"),
        changed(frame, depth=None),
        changed(frame, depth_scale=0.5),
        changed(frame, score_threshold=0.5),
        changed(frame, min_mask_pixels=50),
        changed(frame, object_ids=("a",)),
        changed(frame, visualization=True),
        changed(frame, path_object=PathObject(None, tmp_path / "a.ply")),
    ]
    keys = {request_key(one, 1) for one in [frame, *others]} | {request_key(frame, 2)}
    assert len(keys) == len(others) + 2


def test_a_changed_cad_file_has_another_key(frame: InferenceInput, tmp_path: Path) -> None:
    cad = tmp_path / "a.ply"
    cad.write_text("1")
    named = changed(frame, path_object=PathObject(None, cad))
    before = request_key(named, 1)
    cad.write_text("22")
    assert request_key(named, 1) != before
