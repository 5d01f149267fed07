"""The known objects on the device, ready for frames to be compared with. Immutable: a change makes a new library."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence

from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.stores.patch_tokens import PatchFile, PatchPlace, PatchPrecision, PatchStorage


@dataclass(frozen=True)
class ObjectLibrary:
    """Known objects of one descriptor.

    The index, arrays of all objects that a frame is compared with, is built at its first use, so that a thousand
    objects can be added one by one.

    Attributes:
        objects: With ids that differ.
        version: Grows by one with every change made through `with_object` and `without`.
    """

    objects: tuple[KnownObject, ...] = ()
    version: int = 0
    _parent: tuple[ObjectLibrary, Tensor] | None = field(default=None, repr=False, compare=False)
    """Library that this one is a subset of, and the indices of its objects there."""

    def __post_init__(self) -> None:
        if len(self._index) != len(self.objects):
            raise ValueError(f"object ids must differ; given: {', '.join(self.ids)}")

    def __len__(self) -> int:
        """Count the objects."""
        return len(self.objects)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Ids of the objects, in their order."""
        return tuple(known.id for known in self.objects)

    @cached_property
    def category_ids(self) -> tuple[int, ...]:
        """Category ids of the objects, in their order."""
        return tuple(known.category_id for known in self.objects)

    @cached_property
    def diameters_m(self) -> tuple[float | None, ...]:
        """Diagonals of the objects' boxes, metres; None where an object has no geometry."""
        return tuple(known.diameter_m for known in self.objects)

    @cached_property
    def is_colorless(self) -> Tensor:
        """Which objects are known to have no colors, (O,) bool, on the device of the class tokens."""
        device = self.class_tokens.device
        return torch.tensor([known.is_colorless for known in self.objects], dtype=torch.bool, device=device)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.ids)}

    @cached_property
    def class_tokens(self) -> Tensor:
        """Class tokens (O, T, D), unit rows; zero rows, which match nothing, where objects have fewer templates."""
        if self._parent is not None:
            parent, rows = self._parent
            return parent.class_tokens.index_select(0, rows.to(parent.class_tokens.device))
        if not self.objects:
            return torch.zeros((0, 0, 0))
        return pad_sequence([normalize(known.class_tokens, dim=-1) for known in self.objects], batch_first=True)

    @cached_property
    def _rotations(self) -> Tensor:
        """Rotations (O, T, 3, 3), NaN where there are none."""
        if self._parent is not None:
            parent, rows = self._parent
            return parent._rotations.index_select(0, rows.to(parent._rotations.device))
        nan = float("nan")
        each = [
            known.class_tokens.new_full((known.template_count, 3, 3), nan)
            if known.rotations is None
            else known.rotations.to(known.class_tokens.dtype)
            for known in self.objects
        ]
        return pad_sequence(each, batch_first=True, padding_value=nan) if each else torch.zeros((0, 0, 3, 3))

    def build_index(self) -> None:
        """Build the index now, so that the first frame need not wait for it."""
        _ = self.class_tokens, self._rotations

    def map_objects(self, change: Callable[[KnownObject], KnownObject]) -> ObjectLibrary:
        """Return a library of the same version with what `change` makes of each object; ids must stay."""
        return replace(self, objects=tuple(map(change, self.objects)), _parent=None)

    def with_object(self, known: KnownObject) -> ObjectLibrary:
        """Add or replace an object.

        Args:
            known: Takes the place of the object that has its id, if any.

        Returns:
            The library of the next version.
        """
        index = self._index.get(known.id, len(self))
        return ObjectLibrary((*self.objects[:index], known, *self.objects[index + 1 :]), self.version + 1)

    def without(self, object_id: str) -> ObjectLibrary:
        """Remove an object.

        Args:
            object_id: Its id.

        Returns:
            The library of the next version.

        Raises:
            KeyError: It is not known; the message names the ids there are.
        """
        if object_id not in self._index:
            raise KeyError(f"object '{object_id}' is not known; known: {', '.join(self.ids) or 'none'}")
        return ObjectLibrary(tuple(o for o in self.objects if o.id != object_id), self.version + 1)

    def subset(self, object_ids: Sequence[str]) -> ObjectLibrary:
        """Choose some of the objects; nothing is copied but their class tokens.

        Args:
            object_ids: Their ids.

        Returns:
            A library of the same version, in the order of this one.

        Raises:
            KeyError: Some are not known; the message names them.
        """
        unknown = [name for name in object_ids if name not in self._index]
        if unknown:
            raise KeyError(f"not known: {', '.join(unknown)}; known: {', '.join(self.ids) or 'none'}")
        rows = sorted({self._index[name] for name in object_ids})
        if len(rows) == len(self):
            return self
        chosen = tuple(self.objects[row] for row in rows)
        return ObjectLibrary(chosen, self.version, (self, torch.tensor(rows, dtype=torch.int64)))

    def patch_tokens_of(self, object_index: Tensor, template_index: Tensor) -> Tensor:
        """Gather the patch tokens of one template a row.

        Args:
            object_index: (N,) int64.
            template_index: (N,) int64, within the object.

        Returns:
            (N, P, C) float32.

        Raises:
            OSError: Some are in a file that is damaged and cannot be rebuilt.
        """
        groups = list(_rows_of_each(object_index))
        if len(groups) == 1:
            return self.objects[groups[0][0]].patch_tokens_of(template_index)
        first = self.objects[0]
        shape = (len(object_index), *first.patch_tokens.shape[1:])
        gathered = torch.empty(shape, device=first.class_tokens.device)
        for index, rows in groups:
            gathered[rows] = self.objects[index].patch_tokens_of(template_index[rows])
        return gathered

    def chosen_patch_tokens(self, object_index: Tensor, template_index: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over the patch tokens of the templates that rows chose, each template once.

        Nothing is copied that is on the device already, and no more than one template is read at a time.

        Args:
            object_index: (N,) int64.
            template_index: (N,) int64, within the object.

        Yields:
            Patch tokens (P, C) float32 of one template, and the rows (M,) that chose it.

        Raises:
            OSError: Some are in a file that is damaged and cannot be rebuilt.
        """
        stride = max((known.template_count for known in self.objects), default=1)
        for number, rows in _rows_of_each(object_index * stride + template_index):
            known, template = self.objects[number // stride], number % stride
            if isinstance(known.patch_tokens, PatchFile):
                tokens = known.patch_tokens.read(template)
            else:
                tokens = known.patch_tokens[template]
            yield tokens.to(known.class_tokens.device).float(), rows

    def rotations_of(self, object_index: Tensor, template_index: Tensor) -> Tensor:
        """Gather the rotation of one template a row.

        Args:
            object_index: (N,) int64.
            template_index: (N,) int64, within the object.

        Returns:
            (N, 3, 3) object-to-camera; NaN where the templates have no poses.
        """
        return self._rotations[object_index, template_index]

    def nearest_templates(self, object_index: Tensor, rotation: Tensor) -> Tensor:
        """Find the templates that show objects from nearest to where the camera sees them.

        Args:
            object_index: (N,) int64.
            rotation: (N, 3, 3) object-to-camera.

        Returns:
            (N,) int64, within the object; -1 where the templates have no poses.
        """
        # the third row of a rotation is the direction in which the camera looks, in axes of the object
        similarity = (self._rotations[object_index][:, :, 2] @ rotation[:, 2, :, None])[..., 0]
        is_posed = torch.isfinite(similarity)
        nearest = similarity.masked_fill(~is_posed, -torch.inf).argmax(dim=1)
        return torch.where(is_posed.any(dim=1), nearest, -1)

    def patch_storage(self, place: PatchPlace, precision: PatchPrecision, device: str) -> PatchStorage:
        """Return where and how the patch tokens of one more object on `device` go, given what these take already."""
        held = self.patch_bytes()
        on_device = held.get(str(torch.device(device)), 0)
        return PatchStorage(place, precision, held_on_device=on_device, held_on_host=held.get("cpu", 0))

    def patch_bytes(self) -> dict[str, int]:
        """Count the bytes of patch tokens by where they are.

        Returns:
            Bytes by device ("cpu", "cuda:0") and on "disk", grayscale variants that have been built included.
        """
        held: dict[str, int] = {}
        variants = [known.grayscale.built for known in self.objects if known.grayscale is not None]
        for known in (*self.objects, *(variant for variant in variants if variant is not None)):
            tokens = known.patch_tokens
            place = "disk" if isinstance(tokens, PatchFile) else str(tokens.device)
            held[place] = held.get(place, 0) + tokens.nbytes
        return held


def _rows_of_each(numbers: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Iterate over each number that occurs in `numbers` (N,), with the rows where it does."""
    values, order = numbers.sort(stable=True)
    distinct, counts = values.unique_consecutive(return_counts=True)
    distinct, counts = torch.stack([distinct, counts]).tolist()  # one wait for a GPU
    yield from zip(distinct, order.split(counts), strict=True)
