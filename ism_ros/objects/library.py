"""The known objects on the device, ready to be compared with. Immutable: a change makes a new library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor


@dataclass(frozen=True)
class KnownObject:
    """One onboarded object.

    id: its class_id everywhere. category_id: for BOP and COCO output. class_tokens: (T, D) unit rows. patch_tokens:
    (T, P, C) unit rows, zero where invalid. rotations: (T, 3, 3) object-to-camera, or None when the templates have
    no poses. points_m: (K, 3) surface points in the object frame, metres, or None without geometry. source: the
    file or folder it came from.
    """

    id: str
    category_id: int
    class_tokens: Tensor
    patch_tokens: Tensor
    rotations: Tensor | None = None
    points_m: Tensor | None = None
    source: str = ""

    @property
    def template_count(self) -> int:
        return int(self.class_tokens.shape[0])

    @cached_property
    def corners_m(self) -> Tensor | None:
        """(C, 3), those of `points_m` on their convex hull: seen from anywhere, they span the box of all points."""
        if self.points_m is None:
            return None
        try:
            hull = ConvexHull(self.points_m.cpu().numpy())
        except QhullError:  # flat, or too few
            return self.points_m
        return self.points_m[torch.from_numpy(hull.vertices).long().to(self.points_m.device)]

    @property
    def has_geometry(self) -> bool:
        return self.rotations is not None and self.points_m is not None

    def to(self, device: torch.device | str) -> KnownObject:
        """The same object with its tensors on `device`."""
        return KnownObject(
            self.id,
            self.category_id,
            self.class_tokens.to(device),
            self.patch_tokens.to(device),
            None if self.rotations is None else self.rotations.to(device),
            None if self.points_m is None else self.points_m.to(device),
            self.source,
        )


@dataclass(frozen=True)
class ObjectLibrary:
    """Known objects of one descriptor. `version` grows with every change made through `with_object` and `without`."""

    objects: tuple[KnownObject, ...] = ()
    version: int = 0
    class_tokens: Tensor = field(init=False, repr=False)
    """(O, T, D), objects with fewer than T templates padded with zero rows, which match nothing."""

    def __post_init__(self) -> None:
        ids = [known.id for known in self.objects]
        if len(set(ids)) != len(ids):
            raise ValueError(f"object ids must differ; given: {', '.join(ids)}")
        tokens = (
            torch.nn.utils.rnn.pad_sequence([known.class_tokens for known in self.objects], batch_first=True)
            if self.objects
            else torch.zeros((0, 0, 0))
        )
        object.__setattr__(self, "class_tokens", tokens)

    def __len__(self) -> int:
        return len(self.objects)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(known.id for known in self.objects)

    @property
    def category_ids(self) -> tuple[int, ...]:
        return tuple(known.category_id for known in self.objects)

    def with_object(self, known: KnownObject) -> ObjectLibrary:
        """This library with `known` added, or put in the place of the object that has its id."""
        if known.id in self.ids:
            objects = tuple(known if other.id == known.id else other for other in self.objects)
        else:
            objects = (*self.objects, known)
        return ObjectLibrary(objects, self.version + 1)

    def without(self, object_id: str) -> ObjectLibrary:
        """This library without one object; KeyError names the ids there are."""
        if object_id not in self.ids:
            raise KeyError(f"object '{object_id}' is not known; known: {', '.join(self.ids) or 'none'}")
        return ObjectLibrary(tuple(o for o in self.objects if o.id != object_id), self.version + 1)

    def subset(self, object_ids: Sequence[str]) -> ObjectLibrary:
        """Only the objects named; KeyError names the ones that are not known."""
        unknown = [name for name in object_ids if name not in self.ids]
        if unknown:
            raise KeyError(f"not known: {', '.join(unknown)}; known: {', '.join(self.ids) or 'none'}")
        return ObjectLibrary(tuple(o for o in self.objects if o.id in set(object_ids)), self.version)

    def patch_tokens_of(self, object_index: Tensor, template_index: Tensor) -> Tensor:
        """Patch tokens of the chosen templates, (N,), (N,) -> (N, P, C): only what is needed is gathered."""
        first = self.objects[0].patch_tokens
        gathered = first.new_zeros((len(object_index), *first.shape[1:]))
        for index in object_index.unique().tolist():
            rows = object_index == index
            gathered[rows] = self.objects[index].patch_tokens[template_index[rows]]
        return gathered

    def rotations_of(self, object_index: Tensor, template_index: Tensor) -> Tensor:
        """Object-to-camera rotations of the chosen templates, (N, 3, 3); NaN where the templates have no poses."""
        rotations = self.class_tokens.new_full((len(object_index), 3, 3), float("nan"))
        for index in object_index.unique().tolist():
            of_object = self.objects[index].rotations
            if of_object is not None:
                rows = object_index == index
                rotations[rows] = of_object[template_index[rows]].to(rotations.dtype)
        return rotations
