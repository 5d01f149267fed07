"""Writes simulated tables as a dataset in the BOP format: models, test images, poses, masks and targets.

    python -m ism_ros.sim.bop_dataset OUT --scenes 3 --images 2

Object 1 is the first of the known objects, and so on; the other objects on the tables have no model and are not in
the truth. The dataset serves to try `ism eval` and whatever else reads BOP datasets; it says nothing about real ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from ism_ros.data.camera import Camera
from ism_ros.sim.benchmark_scenes.known_objects import known_objects, make_scene_object
from ism_ros.sim.benchmark_scenes.scene_rendering import observe
from ism_ros.sim.benchmark_scenes.table_scene import REALSENSE, Scene, make_scene, orbit_camera
from ism_ros.sim.synthesis.bop_writer import BopImage, write_camera, write_json, write_models, write_scene


def write_dataset(
    folder: Path,
    *,
    scenes: int = 3,
    images: int = 2,
    objects: int = 5,
    object_set: int = 0,
    first_scene: int = 0,
    sweep_deg: float = 40.0,
    camera: Camera = REALSENSE,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a dataset; the same arguments give the same dataset.

    Args:
        folder: Where to; must be empty or missing. Its name is the dataset's.
        scenes: How many tables.
        images: Images of each table.
        objects: How many known objects.
        object_set: Number of their set, see `known_objects`.
        first_scene: Number of the first table, see `make_scene`.
        sweep_deg: Angle over which the cameras of a table are spread, degrees.
        camera: The camera.
        progress: Called with the images written so far and the number of all images.

    Raises:
        FileExistsError: The folder is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"folder {folder} is not empty: give a new one")
    meshes = known_objects(object_set, objects)
    write_models(folder / "models", meshes)
    known = [make_scene_object(mesh) for mesh in meshes]
    object_ids = {item.name: number for number, item in enumerate(known, start=1)}
    targets: list[dict[str, int]] = []
    for number in range(1, scenes + 1):
        table = make_scene(first_scene + number - 1, known, camera=camera)
        surfaces = {placed.scene_object.name: placed.scene_object.surface for placed in table.placed}

        def report(done: int, before: int = (number - 1) * images) -> None:
            if progress is not None:
                progress(before + done, scenes * images)

        folder_of_scene = folder / "test" / f"{number:06d}"
        views = (_image(table, image, images, sweep_deg) for image in range(images))
        targets += write_scene(folder_of_scene, number, views, surfaces, object_ids, report)
    write_json(folder / "test_targets_bop19.json", targets)
    seen = sorted({(target["scene_id"], target["im_id"]) for target in targets})
    write_json(folder / "test_targets_bop24.json", [{"im_id": image, "scene_id": scene} for scene, image in seen])
    write_camera(folder, camera)
    (folder / "dataset_info.md").write_text(
        f"# {folder.name}\n\nSimulated tables in the BOP format, written by ism_ros.sim.bop_dataset: {scenes} scenes, "
        f"{images} images each, {objects} objects (set {object_set}, first scene {first_scene}).\n\n"
        + "".join(f"- {number}: {name}\n" for name, number in object_ids.items()),
        encoding="utf-8",
    )


def _image(table: Scene, number: int, images: int, sweep_deg: float) -> BopImage:
    """Image `number` of a table, its camera at its share of the sweep."""
    view = orbit_camera(table, np.deg2rad(sweep_deg) * (number / max(images - 1, 1) - 0.5))
    frame, truth = observe(view, 1000 * view.seed + number)
    return BopImage(frame, truth, view.world_to_camera)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a dataset as asked for on the command line.

    Args:
        arguments: Those after the program's name; None = those of the process.

    Returns:
        0 where the dataset was written, 2 where the folder cannot be used.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the dataset; its name is the dataset's")
    parser.add_argument("--scenes", type=int, default=3, help="how many tables (default: %(default)s)")
    parser.add_argument("--images", type=int, default=2, help="images of each table (default: %(default)s)")
    parser.add_argument("--objects", type=int, default=5, help="how many objects with models (default: %(default)s)")
    parser.add_argument("--object-set", type=int, default=0, help="number of the set of objects")
    parser.add_argument("--first-scene", type=int, default=0, help="number of the first table")
    parser.add_argument("--sweep-deg", type=float, default=40.0, help="how far apart a table's cameras are, degrees")
    parser.add_argument("--width", type=int, default=REALSENSE.width, help="width of the images, 4:3 (pixels)")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        with Progress(console=console) as bar:
            task = bar.add_task("rendering", total=None)
            write_dataset(
                options.out,
                scenes=options.scenes,
                images=options.images,
                objects=options.objects,
                object_set=options.object_set,
                first_scene=options.first_scene,
                sweep_deg=options.sweep_deg,
                camera=scale_camera(REALSENSE, options.width),
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
    except OSError as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 2
    console.print(f"{options.scenes * options.images} images in {options.out}", highlight=False, soft_wrap=True)
    return 0


def scale_camera(camera: Camera, width: int) -> Camera:
    """Scale a camera to another picture size.

    Args:
        camera: The camera.
        width: Width of the new pictures, pixels.

    Returns:
        The camera with the same field of view.
    """
    share = width / camera.width
    k = camera.intrinsics.copy()
    k[:2] *= share
    # Pixel centres lie at whole numbers: the left border is at -0.5 before and after.
    k[:2, 2] += 0.5 * share - 0.5
    return Camera(k, width, round(camera.height * share))


if __name__ == "__main__":
    sys.exit(main())
