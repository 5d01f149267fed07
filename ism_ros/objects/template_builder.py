"""The part of onboarding that needs no model: views of an object, and points of its surface."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ism_ros.cad.simplification import simplified
from ism_ros.cad.units import size_doubt
from ism_ros.checks.input_warnings import InputWarning
from ism_ros.objects.spec import ObjectSpec
from ism_ros.rendering.polar_maps import ViewMaps, make_view_maps
from ism_ros.rendering.renderer import TEMPLATE_SIZE_PX, render_templates
from ism_ros.rendering.templates import TemplateError, TemplateSet, read_templates, write_templates
from ism_ros.rendering.viewpoints import rotations_between
from ism_ros.runtime.cache_folder import DAMAGED, NOT_WRITTEN, mark_used, reason

if TYPE_CHECKING:
    import trimesh

    from ism_ros.cad.mesh_loading import CadModel

POINT_COUNT = 2048
BETWEEN_SIZE_PX = 128
"""Of the views between the templates, which are only looked at in the coarse cells of views.py."""

SIMPLIFIED = "simplified"
"""The reason by which a mesh of very many triangles is told of in the log."""

Progress = Callable[[int, int], None]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """rgb: (T, H, W, 3) uint8. masks: (T, H, W) bool. rotations: (T, 3, 3) float32 object-to-camera, or None where
    they are not known. points_m: (POINT_COUNT, 3) float32 about the middle of bounds_m, or None without geometry.
    views: what coarse poses are made by, or None without rotations. bounds_m: (2, 3), lowest and highest corner of the
    model in the object frame. warnings: doubts about the CAD file, in sentences that go on after 'object NAME: '."""

    rgb: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    rotations: NDArray[np.float32] | None
    points_m: NDArray[np.float32] | None
    views: ViewMaps | None
    bounds_m: NDArray[np.float64]
    warnings: tuple[InputWarning, ...] = ()


class Prepare(Protocol):
    """`prepare`, here or in a process of its own."""

    def __call__(self, spec: ObjectSpec, cached: Path, progress: Progress | None) -> Prepared: ...


def prepare(
    spec: ObjectSpec, cached: Path, progress: Progress | None = None, max_triangles: int | None = None
) -> Prepared:
    """What `spec` looks like: its templates, or those in the folder `cached`, or else views rendered of its CAD file
    and kept in `cached`. Where there is a CAD file, views between the templates are rendered as well. progress: told
    (templates rendered, templates).

    Raises CadError, of a mesh of more than `max_triangles` as well, or TemplateError.
    """
    load = cache(lambda: _model(spec, max_triangles))
    templates = _templates(spec, lambda: load().mesh, cached, progress)
    rotations = None if templates.rotations is None else templates.rotations.astype(np.float32)
    model = load() if spec.cad is not None else None
    mesh = None if model is None else model.mesh
    bounds_m = templates.bounds_m if mesh is None else np.asarray(mesh.bounds, np.float64)
    return Prepared(
        templates.rgb,
        templates.masks,
        rotations,
        _points_m(mesh, templates, bounds_m.mean(axis=0)),
        views_seen(mesh, templates),
        bounds_m,
        _warnings(spec, model, bounds_m),
    )


def _model(spec: ObjectSpec, max_triangles: int | None) -> CadModel:
    from ism_ros.cad.mesh_loading import CadModel, read_cad

    assert spec.cad is not None
    model = read_cad(spec.cad, spec.units, max_triangles, spec.color, spec.root)
    before = len(model.mesh.faces)
    mesh = simplified(model.mesh)
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


def _warnings(spec: ObjectSpec, model: CadModel | None, bounds_m: NDArray[np.float64]) -> tuple[InputWarning, ...]:
    """Of the CAD file, or of the size that templates alone show. Of colours only where views are rendered with them."""
    if model is not None:
        return tuple(w for w in model.warnings if spec.templates is None or w.reason == "object_size")
    doubt = size_doubt((bounds_m[1] - bounds_m[0]).tolist(), spec.units)
    return () if doubt is None else (InputWarning("object_size", doubt),)


def _templates(
    spec: ObjectSpec, load: Callable[[], trimesh.Trimesh], cached: Path, progress: Progress | None
) -> TemplateSet:
    if spec.templates is not None:
        return read_templates(spec.templates, spec.units)
    if cached.is_dir():
        try:
            mark_used(cached)
            return read_templates(cached)
        except TemplateError as error:
            logger.warning(
                "object '%s': cached templates are damaged and rendered anew (%s)",
                spec.id,
                error,
                extra={"reason": DAMAGED},
            )
    assert spec.cad is not None
    templates = render_templates(load(), size_px=TEMPLATE_SIZE_PX, progress=progress)
    try:
        write_templates(cached, templates, {"cad": spec.cad.name, "cad_units": spec.units})
    except (OSError, TemplateError) as error:
        logger.warning(
            "cannot keep rendered templates in %s (%s); going on without",
            cached.parent,
            reason(error),
            extra={"reason": NOT_WRITTEN},
        )
    return templates


def views_seen(mesh: trimesh.Trimesh | None, templates: TemplateSet) -> ViewMaps | None:
    """The templates as views, and those between them where there is a mesh to see from there."""
    if templates.rotations is None:
        return None
    if mesh is None:
        centre_m = templates.bounds_m.mean(axis=0)
        return make_view_maps(
            [*templates.rgb], [*templates.masks], [*templates.xyz_m], templates.rotations, centre_m=centre_m
        )
    between = render_templates(mesh, size_px=BETWEEN_SIZE_PX, samples=1, rotations=rotations_between())
    assert between.rotations is not None
    return make_view_maps(
        [*templates.rgb, *between.rgb],
        [*templates.masks, *between.masks],
        [*templates.xyz_m, *between.xyz_m],
        np.concatenate([templates.rotations, between.rotations]),
        template_count=len(templates),
        centre_m=np.asarray(mesh.bounds, np.float64).mean(axis=0),
    )


def _points_m(
    mesh: trimesh.Trimesh | None, templates: TemplateSet, centre_m: NDArray[np.float64]
) -> NDArray[np.float32] | None:
    """(POINT_COUNT, 3) points of the surface about `centre_m`: of the CAD file, or else of what the templates show."""
    if mesh is not None:
        from ism_ros.cad.mesh_loading import sample_surface_m

        return sample_surface_m(mesh, POINT_COUNT, about_m=centre_m)
    if templates.rotations is None:
        return None
    seen = templates.xyz_m[templates.masks]
    return (seen[np.random.default_rng(0).integers(len(seen), size=POINT_COUNT)] - centre_m).astype(np.float32)
