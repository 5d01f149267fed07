"""`ism segment`: one frame from files, detections to files; the models run here or at a server."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from ism_ros.cad.colors import colour_text, parse_colour
from ism_ros.cad.units import UNITS_TEXT, checked_units, resolve_units, size_text
from ism_ros.cli import options
from ism_ros.objects.resource_uri import resolve_path
from ism_ros.objects.spec import ObjectSpec, parse_objects, read_text

if TYPE_CHECKING:
    from ism_ros.data.detections import Detections
    from ism_ros.objects.library import ObjectLibrary

SIZES_SHOWN = 20
"""Of more objects nobody reads them."""


def segment(
    rgb: Annotated[Path, typer.Option(help="Colour image, PNG or JPEG.")],
    camera: Annotated[Path, typer.Option(help='camera.json: {"cam_K": [9 numbers], "depth_scale": 1.0}.')],
    output: Annotated[Path, typer.Option(help="Folder for detection_ism.json, detection_ism.npz and vis_ism.png.")],
    depth: Annotated[
        Path | None,
        typer.Option(help="Depth image, 16-bit PNG registered to rgb; metres = number * depth_scale / 1000."),
    ] = None,
    cad: Annotated[list[Path] | None, typer.Option(help="CAD model to look for; may be given again.")] = None,
    templates: Annotated[
        list[Path] | None,
        typer.Option(help="Template folder of the CAD model given at the same position, instead of rendering it."),
    ] = None,
    units: Annotated[
        str, typer.Option(help=f"Units of the CAD models: {UNITS_TEXT}, or auto (glTF metres, others mm as in BOP).")
    ] = "auto",
    color: options.Color = None,
    objects: Annotated[Path | None, typer.Option(help="objects.yaml, instead of --cad.")] = None,
    object_id: Annotated[
        list[str] | None,
        typer.Option("--object", help="Look only for this one of the objects; may be given again."),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(help="Address of an ISM Server that does the work; --cad and --templates are then its paths."),
    ] = None,
    api_key: Annotated[str, typer.Option(envvar="ISM_API_KEY", help="Key of that server.")] = "",
    config: options.Config = None,
    profile: options.Profile = None,
    segmentor: options.Segmentor = None,
    segmentor_model: options.SegmentorModel = None,
    descriptor: options.Descriptor = None,
    descriptor_model: options.DescriptorModel = None,
    scoring: Annotated[str | None, typer.Option(help="Compared by: auto, sam6d, shape, or noctis (slower).")] = None,
    stability_score_threshold: Annotated[
        float | None, typer.Option(help="Least stability of a mask of sam and sam2.")
    ] = None,
    score_threshold: Annotated[float | None, typer.Option(help="Least final score of a detection.")] = None,
    min_mask_pixels: options.MinMaskPixels = None,
    device: options.Device = None,
) -> None:
    """Find every instance of CAD models in one RGB-D frame.

    [bold]Example:[/bold] ism segment --rgb rgb.png --depth depth.png --camera camera.json --cad mug.ply --output out

    With --server http://HOST:8002 the frame is sent there ('ism serve'), and the same files are written here.
    """
    from ism_ros.io.result_files import write_results
    from ism_ros.visualization import draw_overlay

    console = Console(stderr=True)
    models = options.given(
        profile=profile,
        segmentor=segmentor,
        segmentor_model=segmentor_model,
        descriptor=descriptor,
        descriptor_model=descriptor_model,
        scoring=scoring,
        stability_score_threshold=stability_score_threshold,
        score_threshold=score_threshold,
        min_mask_pixels=min_mask_pixels,
        device=device,
    )
    specs = _specs(cad or [], templates or [], units, color)
    if server is not None:
        from ism_ros.cli.remote import RemoteServer

        asked = _asked({**models, **options.given(config=config)}, specs, units, objects, object_id)
        with console.status("segmenting at the server") as status:
            detections, overlay_rgb = RemoteServer(server, api_key).segment(rgb, depth, camera, asked, status.update)
    else:
        from ism_ros.config.sources import load_settings
        from ism_ros.io.frame_files import read_frame
        from ism_ros.loading import load_model

        given = {**models, **options.given(objects_file=None if objects is None else str(objects))}
        settings = load_settings(config, flags=given)
        if not specs and not settings.objects_file:
            raise ValueError("nothing to look for: give --cad FILE (again for more) or --objects objects.yaml")
        frame = read_frame(rgb, depth, camera)
        with console.status("loading") as status:
            model = load_model(settings, status.update)
            for spec in specs:
                status.update(f"onboarding {spec.id}")
                model.add(spec, partial(_show_views, status, spec.id))
            status.update("segmenting")
            if unknown := [name for name in object_id or () if name not in model.library.ids]:
                raise ValueError(f"--object {unknown[0]} is not known; known: {', '.join(model.library.ids)}")
            detections = model.segment(frame, object_id).to("cpu")
        _print_sizes(console, model.library)
        overlay_rgb = draw_overlay(frame.rgb, detections)
    try:
        write_results(output, detections, overlay_rgb)
    except OSError as error:
        why = error.strerror or error
        raise ValueError(f"--output {output} cannot be written ({why}): choose another folder, or free space") from None
    _print(console, detections, output)


def _print_sizes(console: Console, library: ObjectLibrary) -> None:
    """So that wrong units are seen at a glance."""
    for known in library.objects[:SIZES_SHOWN]:
        if known.size_m is not None:
            console.print(f"{escape(known.id)}: {size_text(known.size_m)}", highlight=False, soft_wrap=True)


def _print(console: Console, detections: Detections, output: Path) -> None:
    from ism_ros.data.boxes import xyxy_to_sam6d_xywh

    for warning in detections.warnings:
        options.print_warning(console, warning.text)
    count = len(detections)
    table = Table(title=f"{count} detection{'' if count == 1 else 's'}", box=box.SIMPLE_HEAD, padding=0)
    table.add_column("object", overflow="fold")
    for column in ("score", "semantic", "appearance", "geometric", "visible", "fit", "x,y,w,h (px)"):
        table.add_column(column, justify="right", no_wrap=True, min_width=len(column))
    for row in range(len(detections)):
        parts = ("score", "semantic_score", "appearance_score", "geometric_score", "visible_ratio", "fit_score")
        table.add_row(
            escape(detections.class_id(row)),
            *(f"{float(getattr(detections, part)[row]):.3f}" for part in parts),
            ",".join(map(str, xyxy_to_sam6d_xywh(detections.boxes_xyxy[row].tolist()))),
        )
    console.print(table if count else _why_nothing(detections))
    timing = ", ".join(f"{stage} {seconds * 1000:.0f} ms" for stage, seconds in detections.stage_s.items())
    console.print(f"{timing}; wrote {output / 'vis_ism.png'}, detection_ism.json, detection_ism.npz")


def _why_nothing(detections: Detections) -> str:
    from ism_ros.data.boxes import xyxy_to_sam6d_xywh

    miss = detections.best_rejected
    if miss is None:
        what = "nothing" if all(told.reason != "too_small" for told in detections.warnings) else "nothing large enough"
        return f"0 detections: {what} in the picture looks like any of the objects"
    x, y, width, height = xyxy_to_sam6d_xywh(miss.box_xyxy)
    return (
        f"0 detections: the best guess is {escape(miss.class_id)} at {miss.score:.3f}, {width} x {height} pixels at "
        f"x {x}, y {y}, which is not certain enough; --score-threshold "
        f"{max(0.0, miss.score - 0.05):.2f} shows it and what is about as certain"
    )


def _asked(
    models: dict[str, Any], specs: list[ObjectSpec], units: str, objects: Path | None, object_ids: list[str] | None
) -> dict[str, Any]:
    """Fields of the request to a server. Raises ValueError for what only the one who starts it can choose."""
    fields_of = {
        "segmentor": "segmentor_model",
        "stability_score_threshold": "stability_score_thresh",
        "score_threshold": "score_threshold",
        "min_mask_pixels": "min_mask_pixels",
    }
    for name in models:
        if name not in fields_of:
            raise ValueError(f"--{name.replace('_', '-')} is up to the server: leave it out, or give it to 'ism serve'")
    asked = {fields_of[name]: value for name, value in models.items()}
    if len(specs) > 1:
        raise ValueError(
            "a server looks for one --cad a request: start it with --objects objects.yaml, and choose by --object ID"
        )
    if specs and (objects is not None or object_ids):
        raise ValueError("with --server give --cad and --templates, or --objects and --object, not both")
    if specs:
        (spec,) = specs
        asked |= options.given(
            cad_path=None if spec.cad is None else str(spec.cad),
            template_dir=None if spec.templates is None else str(spec.templates),
            cad_units=None if units == "auto" else units,
            cad_color=None if spec.color is None else colour_text(spec.color),
        )
    elif object_ids:
        asked["object_ids"] = object_ids
    elif objects is not None:
        # the server has files of its own for them
        listed = parse_objects(read_text(objects), objects, check_files=False)
        asked["object_ids"] = [spec.id for spec in listed]
    return asked


def _show_views(status: Status, name: str, done: int, total: int) -> None:
    status.update(f"onboarding {name}: view {done} of {total}")


def _text(name: str) -> str:
    """A file's name as text: under a locale that is not UTF-8 its bytes come in pieces that no message can hold."""
    return os.fsencode(name).decode("utf-8", "replace")


def _specs(cad: list[Path], templates: list[Path], units: str, color: str | None) -> list[ObjectSpec]:
    """What --cad and --templates name, the file's name being the id."""
    if units != "auto":
        checked_units(units)
    if color is not None and not cad:
        raise ValueError("--color is for --cad; objects.yaml has a color for each of its objects")
    if len(templates) > max(len(cad), 1):
        raise ValueError(
            f"--templates was given {len(templates)} times but --cad {len(cad)} times; give one of each an object"
        )
    specs = []
    for position in range(max(len(cad), len(templates))):
        file = resolve_path(str(cad[position]), Path()) if position < len(cad) else None
        folder = templates[position] if position < len(templates) else None
        named = file if file is not None else folder
        assert named is not None
        specs.append(
            ObjectSpec(
                id=_text(named.stem),
                cad=file,
                units=resolve_units(file, None if units == "auto" else units),
                templates=folder,
                category_id=position + 1,
                color=None if color is None or file is None else parse_colour(color),
            )
        )
    if len({spec.id for spec in specs}) != len(specs):
        raise ValueError(
            "two CAD models have the same file name; use --objects objects.yaml to give them ids of their own"
        )
    return specs
