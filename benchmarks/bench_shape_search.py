"""The search by shape on real frames: are its regions the objects, what does it find besides, what falsely, how long.

    python benchmarks/bench_shape_search.py FOLDER [FOLDER ...]       real frames (docs/real.md)

Regions: each instance with a mask is searched as if nothing was found. In which place is the first region that covers
it at an IoU of 0.5? Found: instances with the default threshold, and false detections, without the search and with it.
Absent: each frame is searched for up to three objects of another frame, three times; all that is found is false.
Objects of one name count as the same; frames in which objects without colors are known are left out.

Writes out/bench_shape_search.json.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from ism_ros.runtime.threads import configure_thread_env

configure_thread_env()

import numpy as np
from accuracy.real_frames import RealFrame, frame_folders, read_real_frame
from accuracy.real_judging import detection_ious, judge_instances, verdicts_of
from common.measuring import machine, print_table, write_json
from rich.progress import track

from ism_ros.config.sources import load_settings
from ism_ros.data.detections import Detections
from ism_ros.data.proposals import Proposals
from ism_ros.loading import load_model
from ism_ros.model import InstanceSegmentationModel
from ism_ros.objects.library import ObjectLibrary
from ism_ros.query import Query
from ism_ros.shape_search.search import likeliest_regions
from ism_ros.shape_search.sized_regions import SurfaceGrid

PLACES = (1, 3, 6, 10)
SHIFTS, ABSENT = (5, 11, 17), 3
"""How far away in the list the frames are whose objects are searched, and how many of these."""
WITHOUT, WITH = "off", "on"


def main() -> None:
    """Print and write places, counts and milliseconds."""
    options = _options()
    frames = [read_real_frame(folder) for root in options.folders for folder in frame_folders(root)]
    frames = [one for one in frames if one.frame.has_depth]
    model = load_model(load_settings(), specs=())
    libraries = [_library(model, one) for one in track(frames, "objects")]
    places = [
        place
        for one, library in zip(track(frames, "regions"), libraries, strict=True)
        for place in _places(model, one, library)
    ]
    found = {way: [0, 0] for way in (WITHOUT, WITH)}
    for one, library in zip(track(frames, "found"), libraries, strict=True):
        for way, counts in found.items():
            right, false = _judged(_segment(model, one, library, way)[0], one, model.settings.score_threshold)
            counts[0], counts[1] = counts[0] + right, counts[1] + false
    absent, false, ms = _absent(model, frames, libraries)
    rows = [
        {"": "instances with a mask", "value": str(len(places))},
        *({"": f"the region is among the first {k}", "value": str(sum(0 < p <= k for p in places))} for k in PLACES),
        *({"": f"found, false: search {way}", "value": f"{right}, {wrong}"} for way, (right, wrong) in found.items()),
        {"": "objects that are absent", "value": str(absent)},
        *({"": f"of these found: search {way}", "value": str(count)} for way, count in false.items()),
        {"": "ms that the search takes for them, median", "value": f"{ms:.0f}"},
    ]
    print_table(f"search by shape in {len(frames)} frames; {machine()}", rows)
    write_json("bench_shape_search", {"machine": machine(), "rows": rows})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="folders of real frames")
    return parser.parse_args()


def _library(model: InstanceSegmentationModel, one: RealFrame) -> ObjectLibrary:
    library = ObjectLibrary()
    for spec in one.specs:
        library = library.with_object(model.onboard(spec))
    return library


def _places(model: InstanceSegmentationModel, one: RealFrame, library: ObjectLibrary) -> list[int]:
    """Of each instance with a mask, the place of its first region; 0 where none is."""
    query = Query(one.frame, library, model.settings).with_registered_depth()
    grid, places = SurfaceGrid.of(query.frame), []
    nothing = np.zeros_like(grid.is_left)
    for instance in one.instances:
        known = library.objects[library.ids.index(instance.object_id)]
        if instance.mask is None or known.diameter_m is None:
            continue
        chosen = likeliest_regions(known, grid.regions(known.diameter_m, nothing), nothing[None][:0])
        right = chosen.ious(grid.cells_of(instance.mask[None]))[:, 0] >= 0.5 if len(chosen) else nothing[0, :0]
        places.append(int(right.argmax()) + 1 if right.any() else 0)
    return places


def _segment(
    model: InstanceSegmentationModel, one: RealFrame, library: ObjectLibrary, way: str
) -> tuple[Detections, float]:
    """Detections, and the milliseconds of the search."""
    settings = model.settings.model_copy(update={"search_by_shape": way == WITH})
    (found,) = model.segment_all([Query(one.frame, library, settings, with_unit_check=False)])
    return found, 1000 * found.stage_s["search"]


def _judged(found: Detections, one: RealFrame, threshold: float) -> tuple[int, int]:
    """How many instances are found, and how many detections are false, where that can be told; as bench_real.py."""
    judged = judge_instances(one, found, Proposals.empty(one.frame.height, one.frame.width), threshold)
    verdicts = verdicts_of(one, found, detection_ious(one.instances, found))
    return sum(instance.is_found for instance in judged), verdicts.count("false")


def _absent(
    model: InstanceSegmentationModel, frames: Sequence[RealFrame], libraries: Sequence[ObjectLibrary]
) -> tuple[int, dict[str, int], float]:
    """How many absent objects were searched, detections of these by way, and milliseconds of the search."""
    count, false, times = 0, {WITHOUT: 0, WITH: 0}, []
    for shift in track(SHIFTS, "absent"):
        for index, one in enumerate(frames):
            there, other = libraries[index], libraries[(index + shift) % len(frames)]
            if any(known.is_colorless for known in (*there.objects, *other.objects)):
                continue
            names = {_name(object_id) for object_id in there.ids}
            ids = [object_id for object_id in other.ids if _name(object_id) not in names][:ABSENT]
            if not ids:
                continue
            count += len(ids)
            for way in false:
                found, ms = _segment(model, one, other.subset(ids), way)
                false[way] += len(found)
                if way == WITH:
                    times.append(ms)
    return count, false, statistics.median(times) if times else 0.0


def _name(object_id: str) -> str:
    """The last letters of an id: 006_mustard_bottle and mustard_bottle are one."""
    return "".join(letter for letter in object_id.lower() if letter.isalpha())[-7:]


if __name__ == "__main__":
    main()
