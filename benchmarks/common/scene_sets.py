"""Sets of known objects and the scenes in which they are searched for, cached on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trimesh

from ism_ros.sim.benchmark_scenes.known_objects import (
    SceneObject,
    known_objects,
    make_scene_object,
    write_objects_file,
)
from ism_ros.sim.benchmark_scenes.observation_cache import Observation, cached, source_fingerprint
from ism_ros.sim.benchmark_scenes.scene_rendering import observe
from ism_ros.sim.benchmark_scenes.table_scene import make_scene


@dataclass(frozen=True)
class ObjectSet:
    """One set of known objects.

    Attributes:
        number: Its number.
        meshes: Mesh of each by name, metres.
        objects: The objects as scenes need them.
        objects_file: objects.yaml that lists their CAD files.
    """

    number: int
    meshes: dict[str, trimesh.Trimesh]
    objects: list[SceneObject]
    objects_file: Path

    @property
    def categories(self) -> dict[str, int]:
        """COCO category of each object by name, different in every set."""
        return {item.name: 100 * self.number + index for index, item in enumerate(self.objects, start=1)}


def make_object_set(number: int, out: Path) -> ObjectSet:
    """Make a set of known objects with CAD files and objects.yaml as a user would have them.

    Args:
        number: Number of the set.
        out: Folder of the benchmark.

    Returns:
        The set.
    """
    meshes = known_objects(number)
    file = write_objects_file(meshes, out / f"objects_{number}")
    by_name = {str(mesh.metadata["name"]): mesh for mesh in meshes}
    return ObjectSet(number, by_name, [make_scene_object(mesh) for mesh in meshes], file)


def observe_scene(scene: int, known: ObjectSet, out: Path, objects: tuple[int, int] = (6, 10)) -> Observation:
    """Render a scene, or read it from the cache.

    Args:
        scene: Number of the scene.
        known: The known objects.
        out: Folder of the benchmark.
        objects: Least and largest number of objects.

    Returns:
        The frame and its ground truth.
    """
    file = out / "scenes" / source_fingerprint() / f"{known.number}_{scene}.npz"
    return cached(file, lambda: observe(make_scene(scene, known.objects, objects=objects)))
