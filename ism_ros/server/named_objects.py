"""Objects that requests name by path: loaded once, looked at again when their files change, the oldest forgotten."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from ism_ros.ism import InstanceSegmentationModel
from ism_ros.known_answer import SCENE
from ism_ros.objects.colours import Rgb
from ism_ros.objects.library import KnownObject
from ism_ros.objects.objects_file import ObjectSpec, read_objects_file
from ism_ros.objects.patch_tokens import PatchFile
from ism_ros.objects.units import units_of

SAMPLE_PREFIX = "sample:"
"""Ids of the objects in the bundled scene start with it."""


@dataclass(frozen=True)
class NamedObject:
    """What a request names: a template folder, a CAD file, or both."""

    template_dir: Path | None
    cad_path: Path | None
    cad_units: str | None = None
    cad_color: Rgb | None = None

    def spec(self) -> ObjectSpec:
        """As of objects.yaml, with the name of the CAD file (or of the folder) as its id."""
        cad = self.cad_path
        named = cad if cad is not None else self.template_dir
        assert named is not None
        units = units_of(cad, self.cad_units)
        color = None if cad is None else self.cad_color
        return ObjectSpec(named.stem, cad, units, self.template_dir, category_id=1, color=color)


def sample_specs() -> dict[str, ObjectSpec]:
    """The objects of the bundled scene by their ids here."""
    specs = read_objects_file(SCENE / "objects.yaml")
    return {
        SAMPLE_PREFIX + spec.id: ObjectSpec(
            SAMPLE_PREFIX + spec.id, spec.cad, spec.units, spec.templates, spec.category_id
        )
        for spec in specs
    }


class ObjectCache:
    """Least recently used objects go when all together take more than `budget_bytes`; for one thread.

    hits, misses: how often an object was there.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.hits = self.misses = 0
        self._budget_bytes = budget_bytes
        self._kept: OrderedDict[tuple[ObjectSpec, int], tuple[tuple[object, ...], KnownObject]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def templates(self) -> int:
        return sum(known.template_count for _, known in self._kept.values())

    def get(self, spec: ObjectSpec, model: InstanceSegmentationModel) -> KnownObject:
        """The object of `spec` for the descriptor of `model`. Raises what `onboard` raises."""
        key = (spec, id(model.descriptor))
        files = signature(spec)
        kept = self._kept.get(key)
        if kept is not None and kept[0] == files:
            self.hits += 1
            self._kept.move_to_end(key)
            return kept[1]
        self.misses += 1
        known = model.onboard(spec)
        self._kept[key] = files, known
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and sum(map(_bytes, self._kept.values())) > self._budget_bytes:
            self._kept.popitem(last=False)
        return known


def signature(spec: ObjectSpec) -> tuple[object, ...]:
    """Changes when a file does: names, sizes and times, read in a hundredth of the time that contents take."""
    files = [] if spec.cad is None else [spec.cad]
    if spec.templates is not None and spec.templates.is_dir():
        files += sorted(spec.templates.iterdir())
    return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file())


def _bytes(entry: tuple[object, KnownObject]) -> int:
    known = entry[1]
    tokens = 0 if isinstance(known.patch_tokens, PatchFile) else known.patch_tokens.nbytes
    return known.class_tokens.nbytes + tokens
