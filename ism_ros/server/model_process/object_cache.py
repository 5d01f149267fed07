"""Objects that requests name by path: loaded once, looked at again when their files change, the oldest forgotten."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ism_ros.cad.colors import Rgb
from ism_ros.cad.referenced_files import referenced_files
from ism_ros.cad.units import units_of
from ism_ros.model import InstanceSegmentationModel
from ism_ros.objects.library import KnownObject
from ism_ros.objects.spec import ObjectSpec, read_objects_file
from ism_ros.objects.stores.patch_tokens import PatchFile
from ism_ros.selftest.self_test import SCENE

FRESH_OBJECTS = 64
SAMPLE_PREFIX = "sample:"
"""Ids of the objects in the bundled scene start with it."""


@dataclass(frozen=True)
class NamedObject:
    """What a request names: a template folder, a CAD file, or both. root: as in ObjectSpec."""

    template_dir: Path | None
    cad_path: Path | None
    cad_units: str | None = None
    root: Path | None = None
    cad_color: Rgb | None = None

    def spec(self) -> ObjectSpec:
        """As of objects.yaml, with the name of the CAD file (or of the folder) as its id."""
        cad = self.cad_path
        named = cad if cad is not None else self.template_dir
        assert named is not None
        units = units_of(cad, self.cad_units)
        color = None if cad is None else self.cad_color
        return ObjectSpec(named.stem, cad, units, self.template_dir, category_id=1, color=color, root=self.root)


def sample_specs() -> dict[str, ObjectSpec]:
    """The objects of the bundled scene by their ids here."""
    specs = read_objects_file(SCENE / "objects.yaml")
    return {
        SAMPLE_PREFIX + spec.id: ObjectSpec(
            SAMPLE_PREFIX + spec.id, spec.cad, spec.units, spec.templates, spec.category_id
        )
        for spec in specs
    }


Files = tuple[object, ...]


class ObjectCache:
    """Least recently used objects go when all together take more than `budget_bytes`; those that nobody has asked for
    since they were put here do not count.

    hits, misses: how often an object was there.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.hits = self.misses = 0
        self._budget_bytes = budget_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[ObjectSpec, int], tuple[Files, KnownObject]] = OrderedDict()
        self._fresh: OrderedDict[tuple[ObjectSpec, int], tuple[Files, KnownObject]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def templates(self) -> int:
        return sum(known.template_count for _, known in self._kept.values())

    def get(self, spec: ObjectSpec, model: InstanceSegmentationModel) -> KnownObject:
        """The object of `spec` for the descriptor of `model`, onboarded now. Raises what `onboard` raises."""
        key = spec, signature(spec)
        found = self.take([key], model)
        if found is None:
            self.put(key, model.onboard(spec), model)
            found = self.take([key], model)
        assert found is not None
        return found[0]

    def take(
        self, wanted: Sequence[tuple[ObjectSpec, Files]], model: InstanceSegmentationModel
    ) -> list[KnownObject] | None:
        """All objects of these specs and signatures, or None where one is not here."""
        with self._lock:
            found = [self._find(one, model) for one in wanted]
            if any(known is None for known in found):
                return None
            objects = [known for known in found if known is not None]
            for (spec, files), known in zip(wanted, objects, strict=True):
                self._use((spec, id(model.descriptor)), files, known)
            return objects

    def holds(self, wanted: tuple[ObjectSpec, Files], model: InstanceSegmentationModel) -> bool:
        with self._lock:
            return self._find(wanted, model) is not None

    def put(self, key: tuple[ObjectSpec, Files], known: KnownObject, model: InstanceSegmentationModel) -> None:
        """Keeps an object at least until it is taken, or FRESH_OBJECTS others came."""
        spec, files = key
        with self._lock:
            self._fresh[spec, id(model.descriptor)] = files, known
            while len(self._fresh) > FRESH_OBJECTS:
                self._fresh.popitem(last=False)

    def _find(self, wanted: tuple[ObjectSpec, Files], model: InstanceSegmentationModel) -> KnownObject | None:
        spec, files = wanted
        key = spec, id(model.descriptor)
        for place in (self._kept, self._fresh):
            if (entry := place.get(key)) is not None and entry[0] == files:
                return entry[1]
        return None

    def _use(self, key: tuple[ObjectSpec, int], files: Files, known: KnownObject) -> None:
        self._fresh.pop(key, None)
        if key in self._kept and self._kept[key][0] == files:
            self.hits += 1
        else:
            self.misses += 1
            self._kept[key] = files, known
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and sum(map(_bytes, self._kept.values())) > self._budget_bytes:
            self._kept.popitem(last=False)


def signature(spec: ObjectSpec) -> Files:
    """Changes when a file does: names, sizes and times, read in a hundredth of the time that contents take.

    Materials and textures that a CAD file names are among them.
    """
    files = [] if spec.cad is None else [spec.cad, *_companions(spec.cad, spec.root)]
    if spec.templates is not None and spec.templates.is_dir():
        files += sorted(spec.templates.iterdir())
    return _times(files)


def _companions(cad: Path, root: Path | None) -> tuple[Path, ...]:
    """Files that a CAD file names, which are looked for again only where they, it or its folder changed."""
    now = _times([cad, cad.parent])
    found, times_then = _named_by(cad, root, now, ())
    times = _times(found)
    return found if times == times_then else _named_by(cad, root, now, times)[0]


@lru_cache(maxsize=1024)
def _named_by(cad: Path, root: Path | None, times: Files, others: Files) -> tuple[tuple[Path, ...], Files]:
    """The files, and their times then. `times` and `others`: what it depends on."""
    files = referenced_files(cad, root) if cad.is_file() else ()
    return files, _times(files)


def _times(paths: Iterable[Path]) -> Files:
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            stat = path.stat()
            found.append((str(path), stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def _bytes(entry: tuple[Files, KnownObject]) -> int:
    known = entry[1]
    tokens = 0 if isinstance(known.patch_tokens, PatchFile) else known.patch_tokens.nbytes
    return known.class_tokens.nbytes + tokens
