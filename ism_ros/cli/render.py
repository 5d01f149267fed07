"""`ism render`: a CAD model to a folder of templates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ism_ros.cad.colors import parse_color
from ism_ros.cad.units import UNITS_TEXT, known_units, size_text
from ism_ros.cli import options

MIN_SIZE_PX, MAX_SIZE_PX = 32, 2048
"""Range of the side of templates, pixels."""


def render(
    cad: Annotated[Path, typer.Argument(metavar="CAD", help="CAD model: PLY, OBJ, STL, GLB, ...", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the templates.", show_default=False)],
    units: Annotated[
        str | None,
        typer.Option(help=f"What the numbers in CAD are in: {UNITS_TEXT}. glTF (.glb, .gltf) says it itself: m."),
    ] = None,
    color: options.Color = None,
    size: Annotated[
        int, typer.Option(min=MIN_SIZE_PX, max=MAX_SIZE_PX, help="Side of the square pictures, pixels.")
    ] = 420,
) -> None:
    """Render a CAD model from 42 sides: templates that this package and SAM-6D read.

    [bold]Example:[/bold] ism render mug.ply templates/mug --units mm

    OUT gets rgb_0.png, mask_0.png, xyz_0.npy and so on, poses.npy, templates.json, and templates.png, which shows
    all views at once: look at it. A folder of older templates is replaced; any other folder is left alone.
    """
    from ism_ros.cad.mesh_loading import read_cad
    from ism_ros.cad.simplification import simplify
    from ism_ros.rendering.template_renderer import RENDERER_VERSION, render_templates
    from ism_ros.rendering.templates import check_replaceable, write_templates

    units = _units(cad, units)
    check_replaceable(out)
    console = Console(stderr=True)
    model = read_cad(cad, units, color=None if color is None else parse_color(color))
    mesh = simplify(model.mesh)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(f"rendering {cad.name}", total=None)
        templates = render_templates(
            mesh, size_px=size, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
        write_templates(out, templates, {"cad": cad.name, "cad_units": units, "renderer_version": RENDERER_VERSION})
    for warning in model.warnings:
        options.print_warning(console, f"{cad.name}: {warning.text}")
    fewer = "" if mesh is model.mesh else f", rendered with {len(mesh.faces)}"
    sides = size_text(mesh.extents.tolist())
    console.print(f"{cad.name}: {sides}, {len(model.mesh.faces)} triangles{fewer}", highlight=False, soft_wrap=True)
    console.print(f"{len(templates)} templates in {out}; see {out / 'templates.png'}", highlight=False, soft_wrap=True)


def _units(cad: Path, units: str | None) -> str:
    if not cad.exists():
        raise ValueError(f"CAD file {cad} does not exist")
    chosen = known_units(cad, units)
    if chosen is None:
        raise ValueError(
            f"the units of {cad} are not known: add --units mm or --units m (or cm, inch), whichever the file is in"
        )
    return chosen
