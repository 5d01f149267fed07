"""`ism_node` itself, with a model that fails on demand: what it is to suffer stands in the JSON file $FAULTS.

{"load": "raise"}                                 the next configure meets an error that nobody foresaw
{"load": "block"}                                 it does not come back until the file says otherwise
{"stream": "raise"}                               so does activate
{"segmentor": "raise" | "out_of_memory" | "block"}     the same for a frame; also each other stage of it: "conversion",
                                                  "crops", "descriptor", "scoring", "selection", "pose", "publishing"
{"segmentor_fits": 4}                             more than 4 rows at once do not fit into the memory of its network;
                                                  also "descriptor_fits" and "scoring_fits"
{"ballast_mb": 400}                               the segmentor that is loaded holds so much memory of its device

Each line of $FAULTS.events is one thing that happened: "segmentor blocks", "model freed".
"""

from __future__ import annotations

import functools
import json
import os
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import ism_ros.model as engine
import ism_ros.node.frame_processor as frame_processor
import ism_ros.node.model_loading as model_loading
import ism_ros.node.node as ism_node
import ism_ros.node.outputs.result_publishers as outputs
from ism_ros.matching import noctis, sam6d, selection, shape
from ism_ros.node.main import main

FAULTS = Path(os.environ["FAULTS"])
SPOILT: list[tuple[Any, str]] = []
EVENTS = FAULTS.with_name(FAULTS.name + ".events")


def faults() -> dict[str, Any]:
    return json.loads(FAULTS.read_text())


def happened(what: str) -> None:
    with EVENTS.open("a") as events:
        events.write(what + "\n")


def suffer(stage: str) -> None:
    """Whatever $FAULTS has for `stage` now."""
    fault = faults().get(stage)
    if fault == "raise":
        raise RuntimeError(f"the {stage} lost its way\nin a second line")
    if fault == "out_of_memory":
        torch.empty(1 << 60, dtype=torch.uint8)
    if fault == "block":
        happened(f"{stage} blocks")
        while faults().get(stage) == "block":
            time.sleep(0.005)


def fit(stage: str, rows: int) -> None:
    if rows > faults().get(f"{stage}_fits", rows):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def faulty(function: Callable, stage: str, rows_of: Callable[..., int] | None = None) -> Callable:
    @functools.wraps(function)
    def failing(*arguments: Any, **named: Any) -> Any:
        if rows_of is None:
            suffer(stage)
        else:
            fit(stage, rows_of(*arguments))
        return function(*arguments, **named)

    return failing


def spoil(owner: Any, name: str, stage: str, rows_of: Callable[..., int] | None = None) -> None:
    """Puts the fault of `stage` before a function of a class or module, once."""
    if (owner, name) not in SPOILT:
        SPOILT.append((owner, name))
        setattr(owner, name, faulty(getattr(owner, name), stage, rows_of))


def watched(load_model: Callable) -> Callable:
    @functools.wraps(load_model)
    def load(*arguments: Any) -> Any:
        suffer("load")
        model = load_model(*arguments)
        spoil(type(model.segmentor), "propose", "segmentor")
        spoil(type(model.descriptor), "describe", "descriptor")
        if hasattr(model.segmentor, "_masks"):
            promptable = type(model.segmentor._masks._model)
            spoil(promptable, "predict", "segmentor", lambda _, embedding, points: len(points))
        if hasattr(model.descriptor, "_tokens"):
            spoil(type(model.descriptor), "_tokens", "descriptor", lambda _, pixels, masks: len(pixels))
        model.segmentor.ballast = torch.ones(
            faults().get("ballast_mb", 0) << 20, dtype=torch.uint8, device=model.device
        )
        parts = {"model": model, "segmentor": model.segmentor, "descriptor": model.descriptor}
        parts |= {known.id: known for known in model.library.objects}
        for name, part in parts.items():
            weakref.finalize(part, happened, f"{name} freed").atexit = False
        return model

    return load


spoil(frame_processor, "frame_from_messages", "conversion")
spoil(engine, "crop_resize_pad", "crops")
spoil(sam6d, "semantic_score", "scoring")
spoil(shape, "semantic_scores", "scoring")
spoil(noctis, "semantic_scores", "scoring")
spoil(noctis, "template_appearance", "scoring", lambda query, template: len(query))
spoil(selection, "nms", "selection")
spoil(engine, "with_coarse_poses", "pose")
spoil(outputs, "detection_array", "publishing")
spoil(ism_node, "FrameSubscriber", "stream")
model_loading.load_model = watched(model_loading.load_model)

if __name__ == "__main__":
    main()
