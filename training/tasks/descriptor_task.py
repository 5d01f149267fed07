"""The descriptor's data, loss and validation for training.train.

Every batch holds some objects, each with crops out of scenes and some of its 42 templates. A crop's class token is to
be nearer to the templates of its object seen from about there than to all templates of other objects (InfoNCE, van den
Oord et al., 2018), and, in the part of it that says from where, nearest to the right view of its own. Its patch tokens,
scored as the runtime scores them, are to fit the right template better than the most similar wrong ones. Half of the
objects come as pairs of one shape in two paints.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ism_ros.data.masks import boxes_from_masks, crop_resize_pad
from ism_ros.descriptors.tiny.descriptor_network import (
    CROP_PX,
    IDENTITY_WIDTH,
    VIEW_WIDTH,
    TinyDescriptorNetwork,
    network_input,
    valid_patches,
)
from ism_ros.matching.similarity import semantic_score
from ism_ros.rendering.viewpoints import VIEW_COUNT, camera_positions
from training.augmentations.crop_augmentations import changed_crops
from training.datasets.shard_store import ShardStore
from training.make_templates import template_file

OBJECTS, CROPS, TEMPLATES = 24, 4, 12
HELD_BACK = 60
"""Objects, the last ones, that are not trained on."""
CLASS_TEMPERATURE, PATCH_TEMPERATURE = 0.07, 0.07
VIEW_TEMPERATURE, TOKEN_TEMPERATURE = 0.1, 0.04
NEAR_DEG, SAME_DEG = 35.0, 22.0
LEAST_VISIBLE = 0.3
"""Crops of objects of which less is seen are not asked about."""
LEAST_SHARE = 0.3
"""Of a patch inside the mask, for it to count."""
STEPS_AN_EPOCH = 100
NAMES = ("crop_rgb", "crop_mask", "crop_object", "crop_rotation", "crop_visible")


@dataclass(frozen=True)
class Batch:
    """What one step sees.

    crops: (B, 3, S, S) uint8 and masks (B, S, S) bool, Q of them from scenes, then T templates. owner: (B,).
    weight: (Q, T) how much a template shows what a crop shows, 1 = the same view, 0 = another one or another object.
    """

    crops: Tensor
    masks: Tensor
    owner: Tensor
    weight: Tensor


class Templates:
    """Of `count` objects: views (count, 42, 96, 96, 4) uint8 on `device`, colours and masks; likeness (count, 42, 42)
    float32 in [0, 1], how alike two views look: round things look the same from many sides."""

    def __init__(self, data: Path, count: int, device: torch.device) -> None:
        self.views = torch.empty((count, VIEW_COUNT, CROP_PX, CROP_PX, 4), dtype=torch.uint8, device=device)
        self.likeness = torch.empty((count, VIEW_COUNT, VIEW_COUNT), device=device)
        for number in range(count):
            views = torch.from_numpy(np.load(template_file(data, number))).to(device)
            self.views[number] = views
            small = F.avg_pool2d(views.permute(0, 3, 1, 2).float() / 255, CROP_PX // 24).flatten(1)
            self.likeness[number] = (-torch.cdist(small, small).square() / small.shape[1] / 0.004).exp()

    def of(self, objects: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        """Crops (N, 3, S, S) uint8 and masks (N, S, S) of views (N,) of objects (N,)."""
        pictures = self.views[objects, views].permute(0, 3, 1, 2)
        return pictures[:, :3], pictures[:, 3] > 0


class CropPool:
    """All crops of the data so far, and which of them show an object. angle_deg: (N, 42), to each template's view."""

    def __init__(self, data: Path, device: torch.device) -> None:
        self._store = ShardStore(data, NAMES, device, lambda _: True)
        self._views = torch.from_numpy(camera_positions()).float().to(device)
        self._sort()

    def grow(self) -> None:
        """Reads what was made since."""
        if self._store.grow():
            self._sort()

    def _sort(self) -> None:
        towards = -self._store["crop_rotation"][:, 2] @ self._views.T
        self.angle_deg = torch.rad2deg(towards.clamp(-1, 1).arccos())
        number, seen = (self._store[f"crop_{name}"].cpu().numpy() for name in ("object", "visible"))
        rows = np.flatnonzero(seen >= LEAST_VISIBLE)
        rows = rows[np.argsort(number[rows], kind="stable")]
        numbers, first = np.unique(number[rows], return_index=True)
        self.of_object = dict(zip(numbers.tolist(), np.split(rows, first[1:]), strict=True))

    def pictures(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Crops (N, 3, 128, 128) float32 and masks (N, 128, 128)."""
        return self._store["crop_rgb"][rows].permute(0, 3, 1, 2).float(), self._store["crop_mask"][rows]


class DescriptorTask:
    """See training.train.Task."""

    def __init__(self, options: argparse.Namespace) -> None:
        count = int(json.loads((options.data / "data.json").read_text())["objects"])
        self._device = torch.device(options.device)
        self._pool = CropPool(options.data, self._device)
        self._templates = Templates(options.data, count, self._device)
        self._seen, self._unseen = range(count - HELD_BACK), range(count - HELD_BACK, count)
        self._size = options.batch or OBJECTS
        self._seed = options.seed
        self.network: nn.Module = TinyDescriptorNetwork()

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Of all that is there by now."""
        self._pool.grow()
        rng = np.random.default_rng([33, self._seed, epoch])
        known = [number for number in self._seen if number in self._pool.of_object]
        for _ in range(STEPS_AN_EPOCH):
            yield self._batch(rng, known)

    def _batch(self, rng: np.random.Generator, known: list[int]) -> Batch:
        objects = cast(rng, known, self._size)
        chosen = np.concatenate([rng.choice(self._pool.of_object[number], CROPS) for number in objects])
        rows = torch.from_numpy(chosen).to(self._device)
        numbers = torch.tensor(objects, device=self._device)
        label = torch.arange(len(objects), device=self._device)
        angle = self._pool.angle_deg[rows].view(len(objects), CROPS, VIEW_COUNT)
        # the views nearest to the crops, and others at random
        nearest = F.one_hot(angle.argmin(dim=2), VIEW_COUNT).sum(dim=1) > 0
        views = (torch.rand(nearest.shape, device=self._device) + nearest).topk(TEMPLATES, dim=1).indices
        alike = self._templates.likeness[numbers[:, None, None], angle.argmin(dim=2)[..., None], views[:, None]]
        near = (-(angle.gather(2, views[:, None].expand(-1, CROPS, -1)) / SAME_DEG).square()).exp()
        weight = torch.zeros((len(objects), CROPS, len(objects), TEMPLATES), device=self._device)
        weight[label, :, label] = torch.maximum(near, alike)

        crops, masks = cut_out(*changed_crops(*self._pool.pictures(rows)))
        shown, shown_masks = self._templates.of(numbers.repeat_interleave(TEMPLATES), views.flatten())
        return Batch(
            torch.cat([crops, shown]),
            torch.cat([masks, shown_masks]),
            torch.cat([label.repeat_interleave(CROPS), label.repeat_interleave(TEMPLATES)]),
            weight.view(len(objects) * CROPS, len(objects) * TEMPLATES),
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        with torch.autocast(self._device.type, enabled=False):
            pixels = network_input(batch.crops.float() / 255, batch.masks)
            valid = valid_patches(pixels, LEAST_SHARE)
        tokens, patches = self.network(pixels.contiguous(memory_format=torch.channels_last))
        with torch.autocast(self._device.type, enabled=False):
            return loss_of(tokens, patches * valid[:, :, None], valid, batch.owner, batch.weight)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """On objects never seen: share of crops whose object is found among all 60 and among random fives, and whose
        best template is within 35 degrees of the truth or looks the same."""
        rng = np.random.default_rng(35)
        every_view = torch.arange(VIEW_COUNT, device=self._device)
        tokens = torch.stack(
            [
                self._describe(network, *self._templates.of(torch.full_like(every_view, number), every_view))
                for number in self._unseen
            ]
        )
        right, of_five, near, angles = [], [], [], []
        for label, number in enumerate(self._unseen):
            rows = torch.from_numpy(self._pool.of_object.get(number, np.zeros(0, np.int64))[:10]).to(self._device)
            if not len(rows):
                continue
            query = self._describe(network, *cut_out(*changed_crops(*self._pool.pictures(rows))))
            pairwise = torch.einsum("nd,otd->not", query, tokens).clamp(0, 1)
            right += (semantic_score(pairwise)[1] == label).tolist()
            five = [label, *rng.choice(np.delete(np.arange(len(self._unseen)), label), 4, replace=False).tolist()]
            of_five += (semantic_score(pairwise[:, five])[1] == 0).tolist()
            view = pairwise[:, label].argmax(dim=1)
            angle = self._pool.angle_deg[rows]
            alike = self._templates.likeness[number, angle.argmin(dim=1), view]
            off = angle.gather(1, view[:, None])[:, 0]
            near += ((off <= NEAR_DEG) | (alike > 0.5)).tolist()
            angles += off.tolist()
        return {
            "top1_of_60": float(np.mean(right)),
            "top1_of_5": float(np.mean(of_five)),
            "view35": float(np.mean(near)),
            "median_angle": float(np.median(angles)),
        }

    def _describe(self, network: nn.Module, crops: Tensor, masks: Tensor) -> Tensor:
        """Class tokens (N, D) of crops (N, 3, S, S) uint8."""
        return network(network_input(crops.float() / 255, masks))[0]


def cast(rng: np.random.Generator, known: list[int], size: int) -> list[int]:
    """`size` objects of those `known`, half of them pairs of one shape in two paints."""
    there = set(known)
    out: list[int] = []
    while len(out) < size:
        number = known[rng.integers(len(known))]
        pair = [number]
        if len(out) < size // 2:
            twin = number + 1 if number % 4 == 2 else number - 1 if number % 4 == 3 else None
            if twin is None or twin not in there:
                continue
            pair.append(twin)
        out += [n for n in pair if n not in out]
    return out[:size]


def cut_out(rgb: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Masked crops (N, 3, 96, 96) uint8 and their masks (N, 96, 96), cut as the runtime cuts proposals."""
    return crop_resize_pad(rgb.to(torch.uint8), mask, boxes_from_masks(mask), CROP_PX)


def loss_of(tokens: Tensor, patches: Tensor, valid: Tensor, owner: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Parts of the loss. tokens: (B, D) and patches (B, P, C) unit rows, valid (B, P), the others as in Batch."""
    queries = len(weight)
    own = owner[:queries, None] == owner[None, queries:]
    identities, views = (F.normalize(part, dim=1) for part in tokens.split([IDENTITY_WIDTH, VIEW_WIDTH], dim=1))
    similarity = identities[:queries] @ identities[queries:].T
    logits = similarity / CLASS_TEMPERATURE
    # templates of the own object seen from elsewhere are neither right nor wrong
    right = logits + torch.log(weight.clamp(min=1e-4))
    right = right.masked_fill(~own | (weight < 0.05), -1e4)
    wrong = logits.masked_fill(own, -1e4)
    identity = torch.logsumexp(torch.cat([right, wrong], dim=1), dim=1) - torch.logsumexp(right, dim=1)

    # the best template is that of the highest cosine of whole tokens, so these learn the view as well
    wanted = weight * own
    wanted = wanted / wanted.sum(dim=1, keepdim=True).clamp(min=1e-6)
    view = torch.zeros(queries, device=tokens.device)
    for part, temperature in ((views, VIEW_TEMPERATURE), (tokens, TOKEN_TEMPERATURE)):
        among_own = (part[:queries] @ part[queries:].T / temperature).masked_fill(~own, -1e4)
        view = view - 0.5 * (wanted * F.log_softmax(among_own, dim=1)).sum(dim=1)

    best = weight.masked_fill(~own, -1).argmax(dim=1, keepdim=True)
    hard = similarity.detach().masked_fill(own, -2).topk(3, dim=1).indices
    candidates = torch.cat([best, hard], dim=1)
    scores = appearance(patches[:queries], valid[:queries], patches[queries:][candidates])
    patch = F.cross_entropy(scores / PATCH_TEMPERATURE, torch.zeros(queries, dtype=torch.long, device=tokens.device))
    return {"identity": identity.mean(), "view": 1.0 * view.mean(), "patch": 0.5 * patch}


def appearance(query: Tensor, valid: Tensor, templates: Tensor) -> Tensor:
    """Mean over valid patches of the best cosine with a template's: (Q, P, C), (Q, P), (Q, K, P, C) -> (Q, K)."""
    count, k, size, width = templates.shape
    similarity = query @ templates.reshape(count, k * size, width).transpose(1, 2)
    best = similarity.view(count, size, k, size).amax(dim=3)
    return (best * valid[:, :, None]).sum(dim=1) / valid.sum(dim=1).clamp(min=1)[:, None]
