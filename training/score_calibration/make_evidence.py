"""Makes evidence of rendered scenes, to which the probabilities of the matcher `verified` are fitted.

    python -m training.score_calibration.make_evidence --data DIR --scenes 400 --objects 120 --jobs 2

Random objects and scenes as of training.make_data, sensed by random depth cameras. Some of the things in a scene are
known, with their CAD colors as they are, without colors or repainted; so are things that are absent and things of
another size. Segmentor and descriptor `tiny` find proposals, and ism_ros.verification gathers the evidence. What is
there already is kept: start it again to go on, or with a larger --scenes for more. Everything follows from the seed.

DIR/objects/NNNN.npz     one object each (training_scenes/random_objects.py)
DIR/known/NNNN.npz       the same as a known object: class tokens, views, surface samples
DIR/evidence/NNNN.npz    one scene each (evidence_store.py)
DIR/data.json            seeds and counts
"""

from __future__ import annotations

import argparse
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from ism_ros import load_model
from ism_ros.config.settings import Settings
from ism_ros.model import InstanceSegmentationModel
from ism_ros.objects.known_object import KnownObject
from training.datasets.data_folder import ObjectBank, object_file, write_description
from training.datasets.parallel_jobs import portions, run_all
from training.make_data import SEED_STRIDE
from training.score_calibration.cad_colors import CadColors, sample_cad_colors
from training.score_calibration.evidence_store import (
    HELD_OUT_EVERY,
    TWINS,
    evidence_file,
    objects_of_scene,
    write_evidence,
)
from training.score_calibration.known_objects import make_templates, read_known, write_known
from training.score_calibration.scene_evidence import make_evidence_of_scene
from training.training_scenes.random_objects import make_object, write_object

SCENE_OBJECTS = 8
"""Objects that may be in a scene; several of its instances may be the same one."""
MIN_OBJECTS = HELD_OUT_EVERY * -(-SCENE_OBJECTS // TWINS) * TWINS
"""Least number of objects, so that those held out are enough for a scene."""


def main() -> None:
    """Make evidence as asked for on the command line.

    Raises:
        SystemExit: The folder holds data of other seeds.
    """
    options = _options()
    data: Path = options.data
    for folder in ("objects", "known", "evidence"):
        (data / folder).mkdir(parents=True, exist_ok=True)
    about = {"seed": options.seed, "objects": options.objects, "with_depth": not options.without_depth}
    write_description(data, about, options.scenes)
    missing = [n for n in range(options.objects) if not known_file(data, n).exists()]
    run_all(_write_objects, portions(missing, 5), (data, options.seed), options.jobs, "objects", 5)
    missing = [n for n in range(options.scenes) if not evidence_file(data, n).exists()]
    fixed = data, options.seed, options.objects, not options.without_depth
    run_all(_write_scenes, portions(missing, 5), fixed, options.jobs, "scenes", 5)


def known_file(data: Path, number: int) -> Path:
    """Name the file of a known object.

    Args:
        data: The folder of data.
        number: Number of the object.

    Returns:
        data/known/NNNN.npz.
    """
    return data / "known" / f"{number:04d}.npz"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the evidence")
    parser.add_argument("--scenes", type=int, default=400, help="how many scenes (default: %(default)s)")
    parser.add_argument("--objects", type=int, default=120, help="how many objects (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=2, help="that of make_data is another one (default: %(default)s)")
    parser.add_argument("--without-depth", action="store_true", help="of the color of the same scenes alone")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes; one a core")
    options = parser.parse_args()
    if options.objects < MIN_OBJECTS:
        parser.error(f"--objects {options.objects} are too few to hold some out: {MIN_OBJECTS} or more")
    return options


@lru_cache(maxsize=1)
def _model() -> InstanceSegmentationModel:
    """The same for all scenes of a process."""
    torch.set_num_threads(1)
    return load_model(Settings(cpu_threads=1), specs=[])


@lru_cache(maxsize=1)
def _bank(data: Path, count: int) -> ObjectBank:
    return ObjectBank(data, count)


@lru_cache(maxsize=64)
def _known(path: Path) -> KnownObject:
    return read_known(path)


def _cad_colors(seed: int, number: int) -> CadColors:
    return sample_cad_colors(np.random.default_rng([77, seed, number]))


def _write_objects(numbers: list[int], data: Path, seed: int) -> None:
    for number in numbers:
        made = make_object(SEED_STRIDE * seed + number)
        write_object(object_file(data, number), made)
        colors = _cad_colors(seed, number)
        write_known(known_file(data, number), make_templates(made, colors), _model().descriptor)


def _write_scenes(numbers: list[int], data: Path, seed: int, objects: int, with_depth: bool) -> None:
    for number in numbers:
        rng = np.random.default_rng([78, seed, number])
        chosen = rng.choice(objects_of_scene(number, objects), SCENE_OBJECTS, replace=False).tolist()
        arrays = make_evidence_of_scene(
            SEED_STRIDE * seed + number,
            [_bank(data, objects)[index] for index in chosen],
            [_known(known_file(data, index)) for index in chosen],
            [_cad_colors(seed, index).tone is not None for index in chosen],
            _model(),
            with_depth,
        )
        write_evidence(evidence_file(data, number), arrays)


if __name__ == "__main__":
    main()
