"""POST /api/v1/inference, /api/v1/inference/batch and /api/v1/inference/upload, and GET /test/sample."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from ism_ros.selftest.self_test import SCENE
from ism_ros.server.context import AppContext, Context
from ism_ros.server.error_responses import ERROR_RESPONSES, KEY_ERROR_RESPONSES, error_body
from ism_ros.server.errors import CLIENT_DISCONNECTED, RequestError
from ism_ros.server.objects.sample_objects import sample_specs
from ism_ros.server.requests.inference_parsing import parse_form
from ism_ros.server.requests.json_bodies import JsonRoute
from ism_ros.server.schemas import REQUEST_EXAMPLE, InferenceRequest, InferenceResponse

MAX_BATCH = 64
"""Frames in one batch, at most."""
_CAMERA = json.dumps(REQUEST_EXAMPLE["cam_params"])
_OPTIONS = json.dumps({"object_ids": REQUEST_EXAMPLE["object_ids"]})

router = APIRouter(tags=["inference"], route_class=JsonRoute)
"""The routes."""


@router.post("/api/v1/inference", response_model=InferenceResponse, responses=ERROR_RESPONSES)
async def inference(context: Context, request: Request, frame: InferenceRequest) -> Response:
    """Instances of the objects in one frame."""
    context.queue.check_ready()
    model_input = await run_in_threadpool(context.parser.from_json, frame)
    return JSONResponse(await context.inference.infer(model_input, _disconnected(request)))


@router.post("/api/v1/inference/batch", responses={**ERROR_RESPONSES, 207: {"description": "Some failed."}})
async def batch(
    context: Context,
    request: Request,
    frames: Annotated[list[InferenceRequest], Field(min_length=1, max_length=MAX_BATCH)],
) -> list[InferenceResponse]:
    """Several frames, answered in their order; 207 where some could not be, each of which says why."""
    context.access.check_batch(request, len(frames))
    context.queue.check_ready()
    responses = await _infer_all(context, request, frames)
    has_succeeded = all(response["success"] for response in responses)
    return JSONResponse(responses, 200 if has_succeeded else 207)  # type: ignore[return-value]


@router.post("/api/v1/inference/upload", response_model=InferenceResponse, responses=ERROR_RESPONSES)
async def upload(
    context: Context,
    request: Request,
    rgb: Annotated[UploadFile, File(description="PNG or JPEG")],
    cam_params: Annotated[str, Form(description="As in the JSON request.", examples=[_CAMERA])],
    depth: Annotated[UploadFile | None, File(description="16-bit PNG, registered to rgb")] = None,
    options: Annotated[str, Form(description="Further fields of the JSON request.", examples=[_OPTIONS])] = "{}",
) -> Response:
    """The same with files instead of base64."""
    context.queue.check_ready()
    fields = parse_form(cam_params, options)
    images = await rgb.read(), None if depth is None else await depth.read()
    model_input = await run_in_threadpool(context.parser.from_images, fields, *images)
    return JSONResponse(await context.inference.infer(model_input, _disconnected(request)))


@router.get("/test/sample", responses=KEY_ERROR_RESPONSES)
async def sample() -> InferenceRequest:
    """A request that can be sent as it is: a rendered scene and two objects that come with the package."""
    camera = json.loads((SCENE / "camera.json").read_text(encoding="utf-8"))
    return InferenceRequest.model_validate(
        {
            "rgb_image": _base64(SCENE / "rgb.jpg"),
            "depth_image": _base64(SCENE / "depth.png"),
            "cam_params": camera,
            "object_ids": list(sample_specs()),
            "visualization": True,
        }
    )


async def _infer_all(context: AppContext, request: Request, frames: list[InferenceRequest]) -> list[dict[str, Any]]:
    """Run the frames of a batch side by side, so that they go to the model together; return responses in order."""
    places = asyncio.Semaphore(context.inference.max_batch_frames)
    disconnected = asyncio.ensure_future(_disconnected(request))

    async def infer(frame: InferenceRequest) -> dict[str, Any]:
        async with places:  # requests of others come in between
            try:
                model_input = await run_in_threadpool(context.parser.from_json, frame)
                return await context.inference.infer(model_input, asyncio.shield(disconnected))
            except RequestError as error:
                if error.status == CLIENT_DISCONNECTED:
                    raise
                return error_body(error.message)

    running = [asyncio.ensure_future(infer(frame)) for frame in frames]
    try:
        return await asyncio.gather(*running)
    finally:
        for task in (disconnected, *running):
            task.cancel()


async def _disconnected(request: Request) -> None:
    """Wait until the client hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _base64(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode("ascii")
