"""Sets of known objects: which objects of the catalog are to be found, and their files as a user would have them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
import yaml

from ism_ros.cad.surfaces import Surface, surface_of
from ism_ros.sim.benchmark_scenes.objects.object_catalog import KINDS, export_cad, make_object
from ism_ros.sim.synthesis.resting_poses import RestingBody, make_resting_body

DEMO_OBJECT_SET = 4
"""Number of the set of known objects on the demo's table."""

UNSEEN_SEED = 1_000_000
"""Least seed of the objects that scenes add by themselves: those of known objects stay below."""


@dataclass(frozen=True)
class SceneObject:
    """One object, ready to be placed and rendered.

    Attributes:
        name: Its class.
        surface: Triangles and texture, metres.
        body: Its resting poses.
        shine: How mirror-like its surface is, in [0, 1].
    """

    name: str
    surface: Surface
    body: RestingBody
    shine: float


def make_scene_object(mesh: trimesh.Trimesh) -> SceneObject:
    """Prepare a mesh for scenes.

    Args:
        mesh: The mesh in metres, `name` and `shine` in its metadata.

    Returns:
        The object.
    """
    name, shine = str(mesh.metadata.get("name", "object")), float(mesh.metadata.get("shine", 0.1))
    return SceneObject(name, surface_of(mesh), make_resting_body(mesh), shine)


def known_objects(seed: int, count: int = 5) -> list[trimesh.Trimesh]:
    """Make a set of objects of different kinds.

    Args:
        seed: Number of the set.
        count: How many objects.

    Returns:
        Meshes in metres, each named by its kind alone.
    """
    rng = np.random.default_rng([7, seed])
    kinds = rng.choice(len(KINDS), count, replace=False)
    meshes = [make_object(KINDS[kind], int(rng.integers(UNSEEN_SEED))) for kind in kinds]
    for kind, mesh in zip(kinds, meshes, strict=True):
        mesh.metadata["name"] = KINDS[kind]
    return meshes


def write_objects_file(meshes: Iterable[trimesh.Trimesh], folder: Path) -> Path:
    """Write the CAD files of objects, and the objects.yaml that lists them.

    Args:
        meshes: Meshes in metres, named in their metadata.
        folder: Where to; created if missing. CAD files of an earlier call are removed.

    Returns:
        folder/objects.yaml.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("*.glb"), *folder.glob("*.ply")]:
        old.unlink()
    entries = [{"id": mesh.metadata["name"], "cad": export_cad(mesh, folder).name, "units": "m"} for mesh in meshes]
    objects_file = folder / "objects.yaml"
    objects_file.write_text(yaml.safe_dump({"objects": entries}, sort_keys=False), encoding="utf-8")
    return objects_file
