"""Objects that requests name by path, in memory once they are onboarded."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from cachetools import LRUCache

from ism_ros.model import InstanceSegmentationModel
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.stores.patch_tokens import PatchFile
from ism_ros.server.objects.file_signature import FileSignature, file_signature

FRESH_OBJECTS = 64
"""Objects that were onboarded and that no request has used yet, at most."""

ObjectKey = tuple[ObjectSpec, FileSignature]
"""An object and the state of its files."""
_Entry = tuple[FileSignature, KnownObject]


class ObjectCache:
    """A cache of onboarded objects: the least recently used go when all together take more than a budget.

    The last one stays however large it is, and those that no request has used yet do not count.

    Attributes:
        hits: How often an object was there.
        misses: How often it was not.
    """

    def __init__(self, budget_bytes: int) -> None:
        """Initialize.

        Args:
            budget_bytes: Memory for the objects, bytes.
        """
        budget = max(1, budget_bytes)
        self.hits = self.misses = 0
        self._lock = threading.Lock()
        # one that is larger than the budget counts as the budget, so that it stays alone
        self._used: LRUCache[tuple[ObjectSpec, int], _Entry] = LRUCache(
            budget, getsizeof=lambda entry: min(budget, _size_bytes(entry[1]))
        )
        self._fresh: LRUCache[tuple[ObjectSpec, int], _Entry] = LRUCache(FRESH_OBJECTS)

    def __len__(self) -> int:
        return len(self._used)

    @property
    def templates(self) -> int:
        """Templates of all objects that are kept."""
        with self._lock:
            return sum(known.template_count for _, known in self._used.values())

    def get(self, spec: ObjectSpec, model: InstanceSegmentationModel) -> KnownObject:
        """Return an object for the descriptor of a model, onboarded now where it is not here.

        Args:
            spec: The object.
            model: The model that onboards it; raises what its `onboard` raises.
        """
        key = spec, file_signature(spec)
        found = self.take([key], model)
        if found is None:
            self.put(key, model.onboard(spec), model)
            found = self.take([key], model)
        assert found is not None
        return found[0]

    def take(self, keys: Sequence[ObjectKey], model: InstanceSegmentationModel) -> list[KnownObject] | None:
        """Return objects for a request.

        Args:
            keys: The objects.
            model: The model for whose descriptor they are.

        Returns:
            All of them, or None where one is not here.
        """
        with self._lock:
            found = [self._find(key, model) for key in keys]
            objects = [known for known in found if known is not None]
            if len(objects) < len(found):
                return None
            for (spec, files), known in zip(keys, objects, strict=True):
                self._use((spec, id(model.descriptor)), files, known)
            return objects

    def holds(self, key: ObjectKey, model: InstanceSegmentationModel) -> bool:
        """Return whether an object is here.

        Args:
            key: The object.
            model: The model for whose descriptor it is.
        """
        with self._lock:
            return self._find(key, model) is not None

    def put(self, key: ObjectKey, known: KnownObject, model: InstanceSegmentationModel) -> None:
        """Keep an object at least until it is taken, or `FRESH_OBJECTS` others came.

        Args:
            key: The object.
            known: The same, onboarded.
            model: The model that has onboarded it.
        """
        spec, files = key
        with self._lock:
            self._fresh[spec, id(model.descriptor)] = files, known

    def _find(self, key: ObjectKey, model: InstanceSegmentationModel) -> KnownObject | None:
        spec, files = key
        for cache in (self._used, self._fresh):
            entry = cache.get((spec, id(model.descriptor)))
            if entry is not None and entry[0] == files:
                return entry[1]
        return None

    def _use(self, key: tuple[ObjectSpec, int], files: FileSignature, known: KnownObject) -> None:
        self._fresh.pop(key, None)
        entry = self._used.get(key)
        if entry is not None and entry[0] == files:
            self.hits += 1
        else:
            self.misses += 1
            self._used[key] = files, known


def _size_bytes(known: KnownObject) -> int:
    tokens = 0 if isinstance(known.patch_tokens, PatchFile) else known.patch_tokens.nbytes
    return known.class_tokens.nbytes + tokens
