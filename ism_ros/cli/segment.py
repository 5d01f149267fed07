"""`ism segment`: one frame from files, detections to files; the models run here or at a server."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from ism_ros.cad.units import size_text
from ism_ros.cli import options
from ism_ros.cli.options import ObjectOptions

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray

    from ism_ros.config.settings import Settings
    from ism_ros.data.detections import Detections
    from ism_ros.data.frame import Frame
    from ism_ros.objects.library import ObjectLibrary

MAX_SIZES_SHOWN = 20
"""Number of objects whose sizes are printed."""
ANY_WIDTH = 10_000
"""Width in which every table has room, characters."""
REQUEST_FIELDS = {
    "segmentor": "segmentor_model",
    "stability_score_threshold": "stability_score_thresh",
    "score_threshold": "score_threshold",
    "min_mask_pixels": "min_mask_pixels",
}
"""Fields of a request to a server by the option that sets them; all other options are up to the server."""


@options.with_option_groups
def segment(
    *,
    rgb: Annotated[Path, typer.Option(help="Color image, PNG or JPEG.")],
    camera: Annotated[Path, typer.Option(help='camera.json: {"cam_K": [9 numbers], "depth_scale": 1.0}.')],
    output: Annotated[Path, typer.Option(help="Folder for detection_ism.json, detection_ism.npz and vis_ism.png.")],
    depth: Annotated[
        Path | None,
        typer.Option(help="Depth image, 16-bit PNG registered to rgb; metres = number * depth_scale / 1000."),
    ] = None,
    objects: ObjectOptions,
    segmentation: options.SegmentationOptions,
    stability_score_threshold: Annotated[
        float | None, typer.Option(help="Least stability of a mask of sam and sam2.")
    ] = None,
    score_threshold: Annotated[float | None, typer.Option(help="Least final score of a detection.")] = None,
    server: Annotated[
        str | None,
        typer.Option(help="Address of an ISM Server that does the work; --cad and --templates are then its paths."),
    ] = None,
    api_key: Annotated[str, typer.Option(envvar="ISM_API_KEY", help="Key of that server.")] = "",
) -> None:
    """Find every instance of CAD models in one RGB-D frame.

    [bold]Example:[/bold] ism segment --rgb rgb.png --depth depth.png --camera camera.json --cad mug.ply --output out

    With --server http://HOST:8002 the frame is sent there ('ism serve'), and the same files are written here.
    """
    from ism_ros.io.result_files import write_results

    console = Console(stderr=True)
    thresholds = options.given(stability_score_threshold=stability_score_threshold, score_threshold=score_threshold)
    if server is not None:
        from ism_ros.cli.remote import RemoteServer

        fields = {**_request_fields(segmentation, thresholds), **objects.request_fields()}
        with console.status("segmenting at the server") as status:
            detections, overlay_rgb = RemoteServer(server, api_key).segment(rgb, depth, camera, fields, status.update)
    else:
        from ism_ros.io.frame_files import read_frame

        specs = objects.specs()
        settings = segmentation.load_settings(**thresholds, **objects.flags)
        if not specs and not settings.objects_file:
            raise ValueError(options.NO_OBJECTS)
        detections, overlay_rgb = _segment_here(console, read_frame(rgb, depth, camera), settings, objects)
    with options.writing(output):
        write_results(output, detections, overlay_rgb)
    _print(console, detections, output)


def _segment_here(
    console: Console, frame: Frame, settings: Settings, objects: ObjectOptions
) -> tuple[Detections, NDArray[uint8]]:
    from ism_ros.loading import load_model
    from ism_ros.visualization import draw_overlay

    with console.status("loading") as status:
        model = load_model(settings, status.update)
        for spec in objects.specs():
            status.update(f"onboarding {spec.id}")
            model.add(spec, partial(_show_views, status, spec.id))
        status.update("segmenting")
        objects.check_known(model.library.ids)
        detections = model.segment(frame, objects.object_id).to("cpu")
    _print_sizes(console, model.library)
    return detections, draw_overlay(frame.rgb, detections)


def _request_fields(segmentation: options.SegmentationOptions, thresholds: dict[str, Any]) -> dict[str, Any]:
    """Make the fields of a request to a server; raise ValueError for what only the one who starts it can choose."""
    chosen = {**segmentation.flags, **thresholds, **options.given(config=segmentation.config)}
    for name in chosen:
        if name not in REQUEST_FIELDS:
            raise ValueError(f"--{name.replace('_', '-')} is up to the server: leave it out, or give it to 'ism serve'")
    return {REQUEST_FIELDS[name]: value for name, value in chosen.items()}


def _print_sizes(console: Console, library: ObjectLibrary) -> None:
    """Print the sizes of objects, so that wrong units are seen at a glance."""
    for known in library.objects[:MAX_SIZES_SHOWN]:
        if known.size_m is not None:
            console.print(f"{escape(known.id)}: {size_text(known.size_m)}", highlight=False, soft_wrap=True)


def _print(console: Console, detections: Detections, output: Path) -> None:
    for warning in detections.warnings:
        options.print_warning(console, warning.text)
    if len(detections):
        _print_table(console, detections)
    else:
        console.print(_why_nothing(detections))
    timing = ", ".join(f"{stage} {seconds * 1000:.0f} ms" for stage, seconds in detections.stage_s.items())
    console.print(f"{timing}; wrote {output / 'vis_ism.png'}, detection_ism.json, detection_ism.npz")


def _print_table(console: Console, detections: Detections) -> None:
    """Print the detections: their evidence in a column, item below item where it is narrow, or else below the table."""
    from ism_ros.cli.evidence_text import evidence_items

    items = [[escape(item) for item in evidence_items(detections.evidence_of(row))] for row in range(len(detections))]
    for separator in ("  ", "\n") if any(items) else ():
        table = _table(detections, [separator.join(one) for one in items])
        if console.measure(table, options=console.options.update(max_width=ANY_WIDTH)).maximum <= console.width:
            console.print(table)
            return
    console.print(_table(detections))
    for row, one in enumerate(items):
        if one:
            told = f"{float(detections.score[row]):.3f} {escape(detections.class_id(row))}:  {'  '.join(one)}"
            console.print(told, highlight=False, soft_wrap=True)


def _table(detections: Detections, evidence: Sequence[str] = ()) -> Table:
    from ism_ros.data.boxes import xyxy_to_sam6d_xywh

    count = len(detections)
    table = Table(title=f"{count} detection{'' if count == 1 else 's'}", box=box.SIMPLE_HEAD, padding=0)
    table.add_column("object", overflow="fold")
    for column in ("score", "semantic", "appearance", "geometric", "visible", "fit", "x,y,w,h (px)"):
        table.add_column(column, justify="right", no_wrap=True, min_width=len(column))
    if evidence:
        table.add_column(" evidence", no_wrap=True)
    for row in range(len(detections)):
        parts = ("score", "semantic_score", "appearance_score", "geometric_score", "visible_ratio", "fit_score")
        table.add_row(
            escape(detections.class_id(row)),
            *(f"{float(getattr(detections, part)[row]):.3f}" for part in parts),
            ",".join(map(str, xyxy_to_sam6d_xywh(detections.boxes_xyxy[row].tolist()))),
            *evidence[row : row + 1],
        )
    return table


def _why_nothing(detections: Detections) -> str:
    from ism_ros.data.boxes import xyxy_to_sam6d_xywh

    miss = detections.best_rejected
    if miss is None:
        has_small = any(warning.reason == "too_small" for warning in detections.warnings)
        what = "nothing large enough" if has_small else "nothing"
        return f"0 detections: {what} in the picture looks like any of the objects"
    x, y, width, height = xyxy_to_sam6d_xywh(miss.box_xyxy)
    return (
        f"0 detections: the best guess is {escape(miss.class_id)} at {miss.score:.3f}, {width} x {height} pixels at "
        f"x {x}, y {y}, which is not certain enough; --score-threshold "
        f"{max(0.0, miss.score - 0.05):.2f} shows it and what is about as certain"
    )


def _show_views(status: Status, name: str, done: int, total: int) -> None:
    status.update(f"onboarding {name}: view {done} of {total}")
