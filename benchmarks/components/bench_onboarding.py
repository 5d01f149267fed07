"""Seconds that onboarding takes: a generated object and any CAD models given, first cold, then from the cache.

    python benchmarks/components/bench_onboarding.py
    python benchmarks/components/bench_onboarding.py mug.ply drill.obj --units mm

Cold: load, render 42 templates of 420 px, write them, describe. Warm: the same objects again, all in the cache.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for common

import trimesh
from common.measuring import machine
from rich.console import Console
from rich.table import Table

from ism_ros.cad.mesh_loading import load_cad
from ism_ros.cad.units import UNITS, declared_units
from ism_ros.descriptors.base import create_descriptor
from ism_ros.objects.onboarding import onboard
from ism_ros.objects.spec import ObjectSpec
from ism_ros.rendering.scene import create_tracer
from ism_ros.rendering.template_renderer import render_templates


def main() -> None:
    """Print seconds of each object."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        specs = [ObjectSpec("generated", _generated(Path(folder)), "m")]
        specs += [ObjectSpec(file.stem, file, declared_units(file) or options.units) for file in options.cad]
        descriptor = create_descriptor(options.descriptor)
        table = Table(title=f"onboarding, descriptor {descriptor.name}; {machine()}")
        for column in ("object", "triangles", "renderer", "render s", "cold s", "warm s"):
            table.add_column(column, justify="left" if column == "object" else "right")
        for spec in specs:
            assert spec.cad is not None
            mesh = load_cad(spec.cad, spec.units)
            render_s = _seconds(lambda mesh=mesh: render_templates(mesh))
            cold_s, warm_s = (_seconds(lambda spec=spec: onboard(spec, descriptor, Path(folder))) for _ in range(2))
            tracer = type(create_tracer(mesh.triangles[:1])).__name__
            numbers = (f"{seconds:.2f}" for seconds in (render_s, cold_s, warm_s))
            table.add_row(spec.id, str(len(mesh.faces)), tracer, *numbers)
    Console().print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cad", nargs="*", type=Path, help="CAD models to time in addition to the generated one")
    parser.add_argument("--units", choices=UNITS, default="mm", help="of the CAD models (default: %(default)s)")
    parser.add_argument("--descriptor", default="tiny", help="default: %(default)s")
    return parser.parse_args()


def _generated(folder: Path) -> Path:
    """A torus through a sphere, 82,000 triangles, colored by position."""
    mesh = trimesh.util.concatenate([trimesh.creation.icosphere(6, 0.06), trimesh.creation.torus(0.07, 0.015)])
    share = (mesh.vertices - mesh.bounds[0]) / mesh.extents
    mesh.visual.vertex_colors = (255 * share).astype("uint8")
    mesh.export(folder / "generated.ply")
    return folder / "generated.ply"


def _seconds(work) -> float:  # type: ignore[no-untyped-def]
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
