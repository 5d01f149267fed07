"""The catalog of benchmark objects: procedural household and workshop objects, one per (kind, seed), in metres.

Each kind is a small program over a random generator; the same kind and seed give the same mesh. Meshes are made of
closed parts that may intersect (a handle and its cup), which is all that ray tracing and convex hulls need. Printed
objects (carton, can, bottle, spray can) carry a UV texture and are best written as GLB; all others carry vertex colors
on a mesh of a few millimetres and are best written as PLY.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import trimesh

from ism_ros.sim.benchmark_scenes.objects.household_objects import (
    make_banana,
    make_bowl,
    make_brick,
    make_car,
    make_duck,
    make_mug,
)
from ism_ros.sim.benchmark_scenes.objects.packaged_goods import make_bottle, make_can, make_carton, make_spray_can
from ism_ros.sim.benchmark_scenes.objects.workshop_tools import (
    make_bracket,
    make_drill,
    make_gear,
    make_hammer,
    make_screwdriver,
)

_MAKERS: dict[str, Callable[[np.random.Generator], trimesh.Trimesh]] = {
    "mug": make_mug,
    "bowl": make_bowl,
    "bottle": make_bottle,
    "can": make_can,
    "spray_can": make_spray_can,
    "carton": make_carton,
    "bracket": make_bracket,
    "duck": make_duck,
    "hammer": make_hammer,
    "gear": make_gear,
    "brick": make_brick,
    "drill": make_drill,
    "banana": make_banana,
    "car": make_car,
    "screwdriver": make_screwdriver,
}
KINDS = tuple(_MAKERS)
"""Names of all kinds of objects; their order is part of the random streams."""


def make_object(kind: str, seed: int) -> trimesh.Trimesh:
    """Make one object.

    Args:
        kind: One of KINDS.
        seed: Number of the object among its kind.

    Returns:
        A mesh of 5 to 26 cm, centred on its bounding box, z up. metadata: `name` (kind_seed), and `shine` in [0, 1],
        how mirror-like the surface is (depth cameras lose such parts).

    Raises:
        ValueError: The kind is unknown; the message names those that exist.
    """
    if kind not in _MAKERS:
        raise ValueError(f"object kind '{kind}' is unknown; choose one of: {', '.join(KINDS)}")
    rng = np.random.default_rng([zlib.crc32(kind.encode()), seed])
    mesh = _MAKERS[kind](rng)
    mesh.apply_translation(-mesh.bounds.mean(axis=0))
    mesh.metadata = {"name": f"{kind}_{seed}", "shine": float(mesh.metadata.get("shine", 0.1))}
    return mesh


def export_cad(mesh: trimesh.Trimesh, folder: Path) -> Path:
    """Write a mesh as a CAD file in metres.

    Args:
        mesh: The mesh, with its name in metadata.
        folder: Where to; created if missing.

    Returns:
        folder/NAME.glb if it is textured, else folder/NAME.ply.
    """
    textured = isinstance(mesh.visual, trimesh.visual.TextureVisuals)
    path = folder / f"{mesh.metadata['name']}.{'glb' if textured else 'ply'}"
    folder.mkdir(parents=True, exist_ok=True)
    mesh.export(path)
    return path
