"""What verification of a frame by the matcher `verified` costs, part by part.

    python benchmarks/components/bench_verification.py                   10 simulated tables, five known objects
    python benchmarks/components/bench_verification.py --real FOLDER     real frames (docs/real.md)

Proposals and descriptors are computed once and are not timed. "cpu ms": processor time of one thread under a profiler,
which adds a few percent, so that other programs on the same cores hardly count; medians over the frames, each the
fastest of --repeats runs. "match, wall" is the matcher as a frame runs it, on --threads threads: only on idle cores is
that its latency. Indented parts are contained in the one above; "all" is the sum of all calls. Rendering takes some 3
seconds a table.

Writes out/bench_verification.json.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ism_ros.runtime.threads import configure_thread_env

configure_thread_env()
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for common and accuracy

import torch
from accuracy.real_frames import frame_folders, read_real_frame
from common.measuring import machine, print_table, timed, write_json
from common.scene_sets import make_object_set, observe_scene
from rich.progress import track

from ism_ros.config.settings import Settings
from ism_ros.config.sources import load_settings
from ism_ros.data.frame import Frame
from ism_ros.loading import load_model
from ism_ros.matching.base import MatchInputs
from ism_ros.matching.scores.similarity import library_similarity
from ism_ros.matching.verified import VERIFIED
from ism_ros.model import InstanceSegmentationModel
from ism_ros.query import Query
from ism_ros.runtime.machine import processor

FIRST_SCENE, SET, OBJECTS = 20_000, 40, (6, 12)
"""Scenes of bench_default.py."""
PARTS = (
    ("match", "verified.py", "match"),
    ("  points under masks", "observed_points.py", "sample_observed_points"),
    ("  verify", "verification.py", "verify"),
    ("    start poses", "pair_choice.py", "likeliest_starts"),
    ("    distances to outlines", "observed_masks.py", "observed_masks"),
    ("      noise of depth", "depth_noise.py", "estimate_inverse_noise"),
    ("    edges of the image", "observed_image.py", "of"),
    ("  refinement, all", "projective_icp.py", "refine"),
    ("  evidence, all", "gathering.py", "gather_evidence"),
    ("  silhouettes of all matches", "silhouette_masks.py", "silhouette_masks"),
    ("  shared masks", "nms.py", "shared_mask_nms"),
    ("  finished poses", "verification.py", "finished"),
    ("  masks of detections", "fine_silhouettes.py", "fine_silhouettes"),
)
"""Name, file and function of each part."""


def main() -> None:
    """Print and write a row for each part."""
    options = _options()
    torch.set_num_threads(options.threads)
    frames = [_measure(name, inputs, options) for name, inputs in _inputs(options)]
    names = [name for name in frames[0] if name != "frame"]
    rows = [{"part": name, "ms": f"{statistics.median(frame[name] for frame in frames):.1f}"} for name in names]
    print_table(f"verification of {len(frames)} frames; {processor()}; {machine(options.threads)}", rows)
    write_json("bench_verification", {"machine": machine(options.threads), "rows": rows, "frames": frames})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, help="folder of real frames instead of simulated ones")
    parser.add_argument("--scenes", type=int, default=10, help="number of tables (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each frame (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of the wall time (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("out/bench_verification"), help="folder of caches")
    return parser.parse_args()


def _inputs(options: argparse.Namespace) -> Iterator[tuple[str, MatchInputs]]:
    """What the matcher gets of each frame."""
    cache = str(options.output / "cache")
    if options.real is not None:
        settings = load_settings(flags={"cache_dir": cache})
        for folder in track(frame_folders(options.real), "frames"):
            real = read_real_frame(folder)
            if real.frame.has_depth:
                yield real.name, _match_inputs(load_model(settings, specs=real.specs), real.frame)
        return
    known = make_object_set(SET, options.output)
    model = load_model(Settings(objects_file=str(known.objects_file), cache_dir=cache))
    for scene in track(range(FIRST_SCENE, FIRST_SCENE + options.scenes), "tables"):
        yield str(scene), _match_inputs(model, observe_scene(scene, known, options.output, OBJECTS)[0])


@torch.inference_mode()
def _match_inputs(model: InstanceSegmentationModel, frame: Frame) -> MatchInputs:
    query = Query(frame, model.library, model.settings).in_colors_of_frame().with_registered_depth()
    crops = model.propose(query)
    descriptors = model.describe([crops])[0]
    similarity = library_similarity(descriptors, query.library)
    return MatchInputs(query.frame, crops.proposals, descriptors, query.library, similarity)


@torch.inference_mode()
def _measure(name: str, inputs: MatchInputs, options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of each part."""
    matcher = VERIFIED.matcher
    wall_ms, _ = timed(lambda: matcher.match(inputs), options.repeats)
    torch.set_num_threads(1)
    runs = [_profiled(inputs) for _ in range(options.repeats)]
    torch.set_num_threads(options.threads)
    parts = {f"{part}, cpu": min(run[part] for run in runs) for part, _, _ in PARTS}
    return {"frame": name, "proposals": len(inputs.proposals), "match, wall": wall_ms, **parts}


def _profiled(inputs: MatchInputs) -> dict[str, float]:
    profile = cProfile.Profile(time.thread_time)
    profile.enable()
    VERIFIED.matcher.match(inputs)
    profile.disable()
    stats: dict[tuple[str, int, str], Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    spent = {(Path(file).name, function): 1e3 * values[3] for (file, _, function), values in stats.items()}
    return {part: spent.get((file, function), 0.0) for part, file, function in PARTS}


if __name__ == "__main__":
    main()
