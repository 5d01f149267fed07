"""The known objects on the device, ready for frames to be compared with. Immutable: a change makes a new library."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import torch
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence

from ism_ros.cad.units import size_text
from ism_ros.checks.input_warnings import InputWarning
from ism_ros.objects.stores.patch_tokens import PatchFile, PatchPlace, PatchPrecision, PatchStorage
from ism_ros.rendering.views.polar_maps import FourierMaps, ViewMaps, fourier_maps
from ism_ros.rendering.views.surface_samples import SurfaceSamples


class GrayscaleVariant(Protocol):
    """An object as a camera without colors sees it; `grayscale.LazyVariant` builds it at the first call."""

    @property
    def built(self) -> KnownObject | None:
        """The variant where it has been built, or None."""
        ...

    def __call__(self) -> KnownObject:
        """Return the variant, building it where it is the first call."""
        ...


@dataclass(frozen=True)
class KnownObject:
    """One onboarded object.

    Attributes:
        id: Its class_id everywhere.
        category_id: Its number in BOP and COCO output.
        class_tokens: (T, D) unit rows.
        patch_tokens: (T, P, C) unit rows, zero where invalid, float32 or float16, on the device, on the CPU, or in a
            file.
        rotations: (T, 3, 3) object-to-camera; None when the templates have no poses.
        points_m: (K, 3) surface points relative to `centre_m`, metres; None without geometry.
        source: The file or folder it came from.
        views: Polar maps that coarse poses are found by, or None.
        warnings: Doubts about its files, found at onboarding.
        grayscale: Gives what frames without colors are compared with; None where there is nothing else.
        bounds_m: (2, 3) float64, lowest and highest corner of the model in the object frame, metres, on the CPU; None =
            those of the points, which are relative to the origin then.
        surface: Samples of its surface that poses are refined and judged by, or None.
    """

    id: str
    category_id: int
    class_tokens: Tensor
    patch_tokens: Tensor | PatchFile
    rotations: Tensor | None = None
    points_m: Tensor | None = None
    source: str = ""
    views: ViewMaps | None = None
    warnings: tuple[InputWarning, ...] = ()
    grayscale: GrayscaleVariant | None = field(default=None, repr=False, compare=False)
    bounds_m: Tensor | None = None
    surface: SurfaceSamples | None = None

    @property
    def template_count(self) -> int:
        """Number of templates, T."""
        return int(self.class_tokens.shape[0])

    @cached_property
    def corners_m(self) -> Tensor | None:
        """Corners (C, 3) of the convex hull of `points_m`, metres: from anywhere, they span the box of all points."""
        if self.points_m is None:
            return None
        try:
            hull = ConvexHull(self.points_m.cpu().numpy())
        except QhullError:  # flat, or too few
            return self.points_m
        return self.points_m[torch.from_numpy(hull.vertices).long().to(self.points_m.device)]

    @cached_property
    def diameter_m(self) -> float | None:
        """Diagonal of the box around the model, metres; None without geometry."""
        return None if self.box_m is None else float((self.box_m[1] - self.box_m[0]).norm())

    @cached_property
    def box_m(self) -> Tensor | None:
        """Lowest and highest corner (2, 3) of the model in the object frame, metres, on the CPU, or None."""
        if self.bounds_m is not None:
            return self.bounds_m
        return None if self.points_m is None else torch.stack(self.points_m.cpu().aminmax(dim=0))

    @cached_property
    def centre_m(self) -> Tensor:
        """Origin (3,) of `points_m` in the object frame, metres, float64, on the CPU."""
        return torch.zeros(3, dtype=torch.float64) if self.bounds_m is None else self.bounds_m.double().mean(dim=0)

    @cached_property
    def spectra(self) -> FourierMaps:
        """Fourier coefficients of `views`, which must be there, on the device of the class tokens; 3 MB."""
        assert self.views is not None
        maps = torch.from_numpy(self.views.maps).to(self.class_tokens.device).float()
        return fourier_maps(maps, self.views.radius_m)

    @property
    def size_text(self) -> str:
        """Sides of the model's box for people, such as 80 x 50 x 30 mm."""
        return "of unknown size" if self.size_m is None else size_text(self.size_m)

    @property
    def size_m(self) -> tuple[float, float, float] | None:
        """Sides of the model's box along the axes of the object frame, metres; None without geometry."""
        if self.box_m is None:
            return None
        x, y, z = (self.box_m[1] - self.box_m[0]).tolist()
        return x, y, z

    def patch_tokens_of(self, template_index: Tensor) -> Tensor:
        """Gather the patch tokens of some templates.

        Args:
            template_index: (N,) int64.

        Returns:
            (N, P, C) float32 on the device of the class tokens.

        Raises:
            OSError: They are in a file that is damaged and cannot be rebuilt.
        """
        if isinstance(self.patch_tokens, PatchFile):
            chosen, which = template_index.cpu().unique(return_inverse=True)
            tokens = torch.stack([self.patch_tokens.read(template) for template in chosen.tolist()])
            return tokens.to(self.class_tokens.device)[which.to(self.class_tokens.device)].float()
        tokens = self.patch_tokens.index_select(0, template_index.to(self.patch_tokens.device))
        return tokens.to(self.class_tokens.device).float()


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
