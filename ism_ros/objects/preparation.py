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

from ism_ros.objects.cache_folder import DAMAGED, NOT_WRITTEN, mark_used, reason
from ism_ros.objects.objects_file import ObjectSpec
from ism_ros.objects.render import TEMPLATE_SIZE_PX, render_templates
from ism_ros.objects.templates import TemplateError, TemplateSet, read_templates, write_templates
from ism_ros.objects.viewpoints import rotations_between
from ism_ros.views import Views, views_of

if TYPE_CHECKING:
    import trimesh

POINT_COUNT = 2048
BETWEEN_SIZE_PX = 128
"""Of the views between the templates, which are only looked at in the coarse cells of views.py."""

Progress = Callable[[int, int], None]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """rgb: (T, H, W, 3) uint8. masks: (T, H, W) bool. rotations: (T, 3, 3) float32 object-to-camera, or None where
    they are not known. points_m: (POINT_COUNT, 3) float32 in the object frame, or None without geometry. views: what
    coarse poses are made by, or None without rotations."""

    rgb: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    rotations: NDArray[np.float32] | None
    points_m: NDArray[np.float32] | None
    views: Views | None


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
    load = cache(lambda: _mesh(spec, max_triangles))
    templates = _templates(spec, load, cached, progress)
    rotations = None if templates.rotations is None else templates.rotations.astype(np.float32)
    mesh = load() if spec.cad is not None else None
    return Prepared(templates.rgb, templates.masks, rotations, _points_m(mesh, templates), views_seen(mesh, templates))


def _mesh(spec: ObjectSpec, max_triangles: int | None) -> trimesh.Trimesh:
    from ism_ros.objects.cad import load_cad

    assert spec.cad is not None
    return load_cad(spec.cad, spec.units, max_triangles, spec.root)


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


def views_seen(mesh: trimesh.Trimesh | None, templates: TemplateSet) -> Views | None:
    """The templates as views, and those between them where there is a mesh to see from there."""
    if templates.rotations is None:
        return None
    if mesh is None:
        return views_of([*templates.rgb], [*templates.masks], [*templates.xyz_m], templates.rotations)
    between = render_templates(mesh, size_px=BETWEEN_SIZE_PX, samples=1, rotations=rotations_between())
    assert between.rotations is not None
    return views_of(
        [*templates.rgb, *between.rgb],
        [*templates.masks, *between.masks],
        [*templates.xyz_m, *between.xyz_m],
        np.concatenate([templates.rotations, between.rotations]),
        template_count=len(templates),
    )


def _points_m(mesh: trimesh.Trimesh | None, templates: TemplateSet) -> NDArray[np.float32] | None:
    """(POINT_COUNT, 3) points of the surface: of the CAD file, or else of what the templates show."""
    if mesh is not None:
        from ism_ros.objects.cad import sample_surface_m

        return sample_surface_m(mesh, POINT_COUNT)
    if templates.rotations is None:
        return None
    seen = templates.xyz_m[templates.masks]
    return seen[np.random.default_rng(0).integers(len(seen), size=POINT_COUNT)]
