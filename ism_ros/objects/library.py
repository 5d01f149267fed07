"""The known objects on the device, ready to be compared with. Immutable: a change makes a new library."""

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
from ism_ros.rendering.polar_maps import FourierMaps, ViewMaps, fourier_maps


class InGrey(Protocol):
    """The same object as a camera without colours sees it, made when it is first asked for; `made`: if it has been."""

    @property
    def made(self) -> KnownObject | None: ...

    def __call__(self) -> KnownObject: ...


@dataclass(frozen=True)
class KnownObject:
    """One onboarded object.

    id: its class_id everywhere. category_id: for BOP and COCO output. class_tokens: (T, D) unit rows. patch_tokens:
    (T, P, C) unit rows, zero where invalid, float32 or float16, on the device, on the CPU, or in a file. rotations:
    (T, 3, 3) object-to-camera, or None when the templates have no poses. points_m: (K, 3) surface points about
    `centre_m`, metres, or None without geometry. source: the file or folder it came from. views: what coarse poses are
    made by, or None. warnings: doubts about its files, found at onboarding. bounds_m: (2, 3) float64, lowest and
    highest corner of the model in the object frame, on the CPU; None = those of the points, which are about the origin
    then. in_grey: gives what frames without colours are compared with, or None where there is nothing else.
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
    in_grey: InGrey | None = field(default=None, repr=False, compare=False)
    bounds_m: Tensor | None = None

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

    @cached_property
    def diameter_m(self) -> float | None:
        """Diagonal of the box around the model, metres; None without geometry."""
        return None if self.box_m is None else float((self.box_m[1] - self.box_m[0]).norm())

    @cached_property
    def box_m(self) -> Tensor | None:
        """(2, 3), lowest and highest corner of the model in the object frame, on the CPU."""
        if self.bounds_m is not None:
            return self.bounds_m
        return None if self.points_m is None else torch.stack(self.points_m.cpu().aminmax(dim=0))

    @cached_property
    def centre_m(self) -> Tensor:
        """(3,) float64, what `points_m` are about, in the object frame, on the CPU."""
        return torch.zeros(3, dtype=torch.float64) if self.bounds_m is None else self.bounds_m.double().mean(dim=0)

    @cached_property
    def spectra(self) -> FourierMaps:
        """Fourier coefficients of `views`, which must be there, on the device of the class tokens; 1.4 MB."""
        assert self.views is not None
        maps = torch.from_numpy(self.views.maps).to(self.class_tokens.device).float()
        return fourier_maps(maps, self.views.radius_m)

    @property
    def size_text(self) -> str:
        """`size_m` in words."""
        return "of unknown size" if self.size_m is None else size_text(self.size_m)

    @property
    def size_m(self) -> tuple[float, float, float] | None:
        """Sides of the model's box along the axes of the object frame, metres; None without geometry."""
        if self.box_m is None:
            return None
        x, y, z = (self.box_m[1] - self.box_m[0]).tolist()
        return x, y, z

    def patch_tokens_of(self, template_index: Tensor) -> Tensor:
        """Patch tokens of some templates, (N,) -> (N, P, C) float32 on the device of the class tokens."""
        if isinstance(self.patch_tokens, PatchFile):
            chosen, which = template_index.cpu().unique(return_inverse=True)
            tokens = torch.stack([self.patch_tokens.read(template) for template in chosen.tolist()])
            return tokens.to(self.class_tokens.device)[which.to(self.class_tokens.device)].float()
        tokens = self.patch_tokens.index_select(0, template_index.to(self.patch_tokens.device))
        return tokens.to(self.class_tokens.device).float()

    def to(self, device: torch.device | str) -> KnownObject:
        """The same object with its tensors on `device`; patch tokens in a file stay there."""
        return replace(
            self,
            class_tokens=self.class_tokens.to(device),
            patch_tokens=self.patch_tokens
            if isinstance(self.patch_tokens, PatchFile)
            else self.patch_tokens.to(device),
            rotations=None if self.rotations is None else self.rotations.to(device),
            points_m=None if self.points_m is None else self.points_m.to(device),
        )


@dataclass(frozen=True)
class ObjectLibrary:
    """Known objects of one descriptor. `version` grows with every change made through `with_object` and `without`.

    What all objects are compared by at once is put together when it is first asked for, so that a thousand objects
    can be added one by one.
    """

    objects: tuple[KnownObject, ...] = ()
    version: int = 0
    _whole: tuple[ObjectLibrary, Tensor] | None = field(default=None, repr=False, compare=False)
    """The library that this one is a subset of, and the indices of its objects there."""

    def __post_init__(self) -> None:
        if len(self._index) != len(self.objects):
            raise ValueError(f"object ids must differ; given: {', '.join(self.ids)}")

    def __len__(self) -> int:
        return len(self.objects)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(known.id for known in self.objects)

    @cached_property
    def category_ids(self) -> tuple[int, ...]:
        return tuple(known.category_id for known in self.objects)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.ids)}

    @cached_property
    def class_tokens(self) -> Tensor:
        """(O, T, D) unit rows, objects with fewer than T templates padded with zero rows, which match nothing."""
        if self._whole is not None:
            whole, rows = self._whole
            return whole.class_tokens.index_select(0, rows.to(whole.class_tokens.device))
        if not self.objects:
            return torch.zeros((0, 0, 0))
        return pad_sequence([normalize(known.class_tokens, dim=-1) for known in self.objects], batch_first=True)

    @cached_property
    def _rotations(self) -> Tensor:
        """(O, T, 3, 3), NaN where there are none."""
        if self._whole is not None:
            whole, rows = self._whole
            return whole._rotations.index_select(0, rows.to(whole._rotations.device))
        nan = float("nan")
        each = [
            known.class_tokens.new_full((known.template_count, 3, 3), nan)
            if known.rotations is None
            else known.rotations.to(known.class_tokens.dtype)
            for known in self.objects
        ]
        return pad_sequence(each, batch_first=True, padding_value=nan) if each else torch.zeros((0, 0, 3, 3))

    def prepare(self) -> None:
        """Puts together what the first comparison would else have to wait for."""
        _ = self.class_tokens, self._rotations

    def each(self, change: Callable[[KnownObject], KnownObject]) -> ObjectLibrary:
        """This library with what `change` makes of each object."""
        return replace(self, objects=tuple(map(change, self.objects)), _whole=None)

    def with_object(self, known: KnownObject) -> ObjectLibrary:
        """This library with `known` added, or put in the place of the object that has its id."""
        index = self._index.get(known.id, len(self))
        return ObjectLibrary((*self.objects[:index], known, *self.objects[index + 1 :]), self.version + 1)

    def without(self, object_id: str) -> ObjectLibrary:
        """This library without one object; KeyError names the ids there are."""
        if object_id not in self._index:
            raise KeyError(f"object '{object_id}' is not known; known: {', '.join(self.ids) or 'none'}")
        return ObjectLibrary(tuple(o for o in self.objects if o.id != object_id), self.version + 1)

    def subset(self, object_ids: Sequence[str]) -> ObjectLibrary:
        """Only the objects named, in the order of this library; KeyError names the ones that are not known.

        Nothing is copied but the class tokens of these objects.
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
        """Patch tokens of the chosen templates, (N,), (N,) -> (N, P, C): only what is needed is gathered.

        Raises OSError where they are in a file that is damaged and cannot be made anew.
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
        """The same, one template after the other and each once: its patch tokens (P, C), and the rows that chose it.

        Nothing is copied that is on the device already, and no more than one template is read at a time.
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
        """Object-to-camera rotations of the chosen templates, (N, 3, 3); NaN where the templates have no poses."""
        return self._rotations[object_index, template_index]

    def patch_storage(self, place: PatchPlace, precision: PatchPrecision, device: str) -> PatchStorage:
        """Decide where the patch tokens of one more object go.

        Args:
            place: Where they are wanted.
            precision: In which they are kept.
            device: PyTorch device of the model.

        Returns:
            That, with what the objects of this library take already.
        """
        held = self.patch_bytes()
        on_device = held.get(str(torch.device(device)), 0)
        return PatchStorage(place, precision, held_on_device=on_device, held_on_host=held.get("cpu", 0))

    def patch_bytes(self) -> dict[str, int]:
        """How many bytes of patch tokens are where: by device ("cpu", "cuda:0") and on "disk"."""
        held: dict[str, int] = {}
        in_grey = [known.in_grey.made for known in self.objects if known.in_grey is not None]
        for known in (*self.objects, *(known for known in in_grey if known is not None)):
            tokens = known.patch_tokens
            place = "disk" if isinstance(tokens, PatchFile) else str(tokens.device)
            held[place] = held.get(place, 0) + tokens.nbytes
        return held


def _rows_of_each(numbers: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Every number that occurs in `numbers` (N,), and the rows where it does."""
    values, order = numbers.sort(stable=True)
    distinct, counts = values.unique_consecutive(return_counts=True)
    distinct, counts = torch.stack([distinct, counts]).tolist()  # one wait for a GPU
    yield from zip(distinct, order.split(counts), strict=True)
