"""From the fields and images of a request to an Ask: images looked at, paths inside the roots."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from ism_ros.server.context import Porch
from ism_ros.server.errors import RequestError
from ism_ros.server.model_process.inference_runner import Ask
from ism_ros.server.requests.images import DEPTH_FORMATS, FORMATS, bytes_of_base64, check_image
from ism_ros.server.requests.json_bodies import json_of
from ism_ros.server.schemas import InferenceRequest


def ask_of_json(porch: Porch, asked: InferenceRequest) -> Ask:
    depth = None if asked.depth_image is None else bytes_of_base64(asked.depth_image, "depth_image")
    return ask_of_images(porch, asked, bytes_of_base64(asked.rgb_image, "rgb_image"), depth)


def asked_of_form(cam_params: str, options: str) -> InferenceRequest:
    try:
        camera = json_of(cam_params.encode(), "cam_params")
        fields = {**json_of(options.encode(), "options"), "cam_params": camera}
    except (ValueError, TypeError) as error:
        raise RequestError(422, f"cam_params and options must be JSON objects: {error}") from None
    return asked_of_fields(fields, "cam_params or options")


def asked_of_fields(fields: dict[str, Any], what: str) -> InferenceRequest:
    """The request of a client that sends its images beside it. Raises RequestError."""
    try:
        return InferenceRequest.model_validate({**fields, "rgb_image": "", "depth_image": None})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RequestError(422, f"{what} cannot be used: {place}: {first['msg'].lower()}") from None


def ask_of_images(porch: Porch, asked: InferenceRequest, rgb_bytes: bytes, depth_bytes: bytes | None) -> Ask:
    """Paths first: they cost nothing. Raises RequestError."""
    named = porch.named_object(asked.template_dir, asked.cad_path, asked.cad_units, asked.cad_color)
    if named is not None and asked.object_ids is not None and (asked.template_dir or asked.cad_path):
        raise RequestError(400, "send object_ids, or template_dir and cad_path, not both")
    output_dir = porch.roots.inside(asked.output_dir, "output_dir") if asked.output_dir else None
    check_image(rgb_bytes, "rgb_image", porch.server.max_pixels, FORMATS)
    if depth_bytes is not None:
        check_image(depth_bytes, "depth_image", porch.server.max_pixels, DEPTH_FORMATS)
    return Ask(
        rgb=rgb_bytes,
        depth=depth_bytes,
        intrinsics=tuple(asked.cam_params.cam_K),
        depth_scale=asked.cam_params.depth_scale,
        max_pixels=porch.server.max_pixels,
        named=None if asked.object_ids is not None else named,
        object_ids=None if asked.object_ids is None else tuple(asked.object_ids),
        segmentor=asked.segmentor_model,
        stability_score_threshold=asked.stability_score_thresh,
        score_threshold=asked.score_threshold,
        min_mask_pixels=asked.min_mask_pixels,
        output_dir=output_dir,
        visualization=porch.server.visualization if asked.visualization is None else asked.visualization,
    )
