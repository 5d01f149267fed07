"""What of onboarding needs no model: the templates of an object, points of its surface, and maps for its poses."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ism_ros.cad.simplification import simplify
from ism_ros.cad.surfaces import Surface
from ism_ros.cad.units import METRES, size_text, size_warning
from ism_ros.checks.input_warnings import InputWarning
from ism_ros.errors import first_line
from ism_ros.objects.spec import ObjectSpec
from ism_ros.rendering.template_renderer import TEMPLATE_SIZE_PX, render_templates
from ism_ros.rendering.templates import TemplateError, TemplateSet, read_templates, write_templates
from ism_ros.rendering.views.polar_maps import ViewMaps, make_view_maps
from ism_ros.rendering.views.surface_samples import SurfaceSamples, sample_surface
from ism_ros.rendering.views.viewpoints import edge_midpoint_rotations
from ism_ros.runtime.cache_folder import DAMAGED, mark_used, warn_not_written

if TYPE_CHECKING:
    import trimesh

    from ism_ros.cad.mesh_loading import CadModel

POINT_COUNT = 2048
"""Number of points of the surface of each object."""
POSE_VIEW_SIZE_PX = 128
"""Side of the views between the templates, which are only used in the coarse cells of polar maps."""

SAME_SIZE = 1.25
"""Factor up to which the diagonals of templates and of their CAD model are the same."""

COLOR_DOUBTS = ("no_colour", "texture_missing")
"""Reasons of warnings that only templates rendered of the CAD file deserve."""
SIMPLIFIED = "simplified"
"""Reason, in log records, of a mesh of very many triangles that was simplified."""

Progress = Callable[[int, int], None]
"""Called with the number of views rendered so far and of all views; what it raises ends the work."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ObjectTemplates:
    """What an object looks like, before any model has described it.

    Attributes:
        rgb: (T, H, W, 3) uint8.
        masks: (T, H, W) bool.
        rotations: (T, 3, 3) float32 object-to-camera; None where they are not known.
        points_m: (POINT_COUNT, 3) float32 relative to the centre of `bounds_m`, metres; None without geometry.
        views: Polar maps that coarse poses are found by; None without rotations.
        bounds_m: (2, 3) float64, lowest and highest corner of the model in the object frame, metres.
        warnings: What is doubtful about the CAD file, in sentences that go on after 'object NAME: '.
        surface: Samples of the surface that poses are refined by; None without rotations or where there are none.
        depth_px: (T, H, W) float32 depth up to a constant, in pixels, 0 outside the mask; None without rotations.
    """

    rgb: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    rotations: NDArray[np.float32] | None
    points_m: NDArray[np.float32] | None
    views: ViewMaps | None
    bounds_m: NDArray[np.float64]
    warnings: tuple[InputWarning, ...] = ()
    surface: SurfaceSamples | None = None
    depth_px: NDArray[np.float32] | None = None


class TemplateBuilder(Protocol):
    """Builds the templates of an object: `build_templates` here, or `TemplateProcess` in another process."""

    def __call__(self, spec: ObjectSpec, cached: Path, progress: Progress | None) -> ObjectTemplates:
        """Build the templates; see `build_templates` for arguments and errors."""
        ...


def build_templates(
    spec: ObjectSpec,
    cached: Path,
    progress: Progress | None = None,
    max_triangles: int | None = None,
    size_px: int = TEMPLATE_SIZE_PX,
) -> ObjectTemplates:
    """Read the templates of an object, or render them from its CAD file.

    Where there is a CAD file, views between the templates are rendered as well.

    Args:
        spec: The object.
        cached: Folder of templates that were rendered of it before; else they are written there.
        progress: Called while rendering with (templates rendered, templates).
        max_triangles: Refuse meshes of more; None = no limit.
        size_px: Side of rendered templates, pixels; of another size, they need a cache folder of their own.

    Returns:
        Those in the folder of the spec, else those in `cached`, else new ones.

    Raises:
        CadError: The CAD file cannot be used, or has too many triangles.
        TemplateError: The folder of the spec cannot be used.
    """
    load = cache(lambda: _load_model(spec, max_triangles))
    templates = _read_or_render(spec, lambda: load().mesh, cached, progress, size_px)
    model = load() if spec.cad is not None else None
    mesh = None if model is None else model.mesh
    if mesh is not None and spec.templates is not None:
        templates = as_large_as(templates, np.asarray(mesh.bounds, np.float64), spec.units)
    rotations = None if templates.rotations is None else templates.rotations.astype(np.float32)
    bounds_m = templates.bounds_m if mesh is None else np.asarray(mesh.bounds, np.float64)
    views = views_of_object(mesh, templates)
    return ObjectTemplates(
        templates.rgb,
        templates.masks,
        rotations,
        _points_m(mesh, templates, bounds_m.mean(axis=0)),
        views,
        bounds_m,
        _warnings(spec, model, bounds_m, templates),
        None if views is None else surface_of_object(templates, views),
        templates.depth_px,
    )


def _load_model(spec: ObjectSpec, max_triangles: int | None) -> CadModel:
    from ism_ros.cad.mesh_loading import CadModel, read_cad

    assert spec.cad is not None
    model = read_cad(spec.cad, spec.units, max_triangles, spec.color, spec.root)
    before = len(model.mesh.faces)
    mesh = simplify(model.mesh)
    if mesh is not model.mesh:
        logger.warning(
            "object '%s' has %d triangles and is simplified to %d, which its templates do not show: export it with "
            "fewer to have it ready sooner",
            spec.id,
            before,
            len(mesh.faces),
            extra={"reason": SIMPLIFIED},
        )
    return CadModel(mesh, model.warnings)


def as_large_as(templates: TemplateSet, bounds_m: NDArray[np.float64], units: str) -> TemplateSet:
    """Take the coordinates of templates in the units in which they show something as large as their CAD model.

    A folder does not say its units: `xyz_*.npy` of SAM-6D's render tool are in those of the CAD file that it was given,
    those of `ism render` in millimetres.

    Args:
        templates: As read in `units`.
        bounds_m: (2, 3) corners of the CAD model, metres.
        units: One of `cad.units.UNITS`.

    Returns:
        The templates in metres; unchanged where they are as large in no units.
    """
    size, wanted = _diagonal_m(templates.bounds_m), _diagonal_m(bounds_m)
    for metres in METRES.values():
        factor = metres / METRES[units]
        if _is_same_size(factor * size, wanted):
            return replace(templates, xyz_m=templates.xyz_m * templates.xyz_m.dtype.type(factor))
    return templates


def _diagonal_m(bounds_m: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(bounds_m[1] - bounds_m[0]))


def _is_same_size(first_m: float, second_m: float) -> bool:
    return max(first_m, second_m) < SAME_SIZE * min(first_m, second_m)


def _warnings(
    spec: ObjectSpec, model: CadModel | None, bounds_m: NDArray[np.float64], templates: TemplateSet
) -> tuple[InputWarning, ...]:
    """Collect doubts about the CAD file, or about the size that templates alone show.

    Those about colors count only where templates are rendered with them.
    """
    if model is None:
        text = size_warning((bounds_m[1] - bounds_m[0]).tolist(), spec.units)
        return () if text is None else (InputWarning("object_size", text),)
    if spec.templates is None:
        return model.warnings
    doubts = tuple(w for w in model.warnings if w.reason not in COLOR_DOUBTS)
    if _is_same_size(_diagonal_m(templates.bounds_m), _diagonal_m(bounds_m)):
        return doubts
    shown, wanted = (size_text((box[1] - box[0]).tolist()) for box in (templates.bounds_m, bounds_m))
    text = f"its templates show something of {shown}, but its CAD model is {wanted}: render them of this CAD file"
    return (*doubts, InputWarning("object_size", text))


def _read_or_render(
    spec: ObjectSpec, load: Callable[[], trimesh.Trimesh], cached: Path, progress: Progress | None, size_px: int
) -> TemplateSet:
    if spec.templates is not None:
        return read_templates(spec.templates, spec.units)
    if cached.is_dir():
        try:
            mark_used(cached)
            return read_templates(cached)
        except TemplateError as error:
            logger.warning(
                "object '%s': cached templates are damaged and rendered again (%s)",
                spec.id,
                error,
                extra={"reason": DAMAGED},
            )
    assert spec.cad is not None
    templates = render_templates(load(), size_px=size_px, progress=progress)
    try:
        write_templates(cached, templates, {"cad": spec.cad.name, "cad_units": spec.units})
    except (OSError, TemplateError) as error:
        warn_not_written(cached.parent, first_line(error))
        return templates
    # files round coordinates: an object is the same whether its templates were rendered just now or before
    return read_templates(cached)


def views_of_object(mesh: trimesh.Trimesh | None, templates: TemplateSet) -> ViewMaps | None:
    """Make the polar maps of an object that coarse poses are found by.

    Args:
        mesh: In metres, from which views between the templates are rendered; None = the templates alone.
        templates: Of the object.

    Returns:
        Maps of the templates, then of the views between them; None where the templates have no rotations.
    """
    if templates.rotations is None:
        return None
    if mesh is None:
        centre_m = templates.bounds_m.mean(axis=0)
        return make_view_maps(
            [*templates.rgb], [*templates.masks], [*templates.xyz_m], templates.rotations, centre_m=centre_m
        )
    return views_with_between(templates, render_between(mesh), np.asarray(mesh.bounds, np.float64).mean(axis=0))


def render_between(mesh: trimesh.Trimesh | Surface) -> TemplateSet:
    """Render the views between the templates.

    Args:
        mesh: Of the object, metres.

    Returns:
        The views.
    """
    return render_templates(mesh, size_px=POSE_VIEW_SIZE_PX, samples=1, rotations=edge_midpoint_rotations())


def views_with_between(templates: TemplateSet, between: TemplateSet, centre_m: NDArray[np.float64]) -> ViewMaps:
    """Make the polar maps of templates and of the views between them.

    Args:
        templates: With rotations.
        between: Of `render_between`.
        centre_m: (3,) centre of the model's box in the object frame, metres.

    Returns:
        The maps, those of the templates first.
    """
    assert templates.rotations is not None
    assert between.rotations is not None
    return make_view_maps(
        [*templates.rgb, *between.rgb],
        [*templates.masks, *between.masks],
        [*templates.xyz_m, *between.xyz_m],
        np.concatenate([templates.rotations, between.rotations]),
        template_count=len(templates),
        centre_m=centre_m,
    )


def surface_of_object(templates: TemplateSet, views: ViewMaps) -> SurfaceSamples | None:
    """Sample the surface that the templates of an object show.

    Args:
        templates: With rotations.
        views: Of the object, which the samples are seen in.

    Returns:
        The samples; None where the templates show no surface.
    """
    assert templates.rotations is not None
    return sample_surface(
        [*templates.rgb], [*templates.masks], [*templates.xyz_m], templates.rotations, views.centre_m, views.rotations
    )


def _points_m(
    mesh: trimesh.Trimesh | None, templates: TemplateSet, centre_m: NDArray[np.float64]
) -> NDArray[np.float32] | None:
    """Sample points (POINT_COUNT, 3) relative to `centre_m`: of the CAD file, or else of what the templates show."""
    if mesh is not None:
        from ism_ros.cad.mesh_loading import sample_surface_m

        return sample_surface_m(mesh, POINT_COUNT, about_m=centre_m)
    return None if templates.rotations is None else seen_points_m(templates, centre_m)


def seen_points_m(templates: TemplateSet, centre_m: NDArray[np.float64]) -> NDArray[np.float32]:
    """Sample points of the surface that templates show.

    Args:
        templates: Of the object.
        centre_m: (3,) in the object frame, metres.

    Returns:
        (POINT_COUNT, 3) relative to `centre_m`, metres.
    """
    seen = templates.xyz_m[templates.masks]
    return (seen[np.random.default_rng(0).integers(len(seen), size=POINT_COUNT)] - centre_m).astype(np.float32)
