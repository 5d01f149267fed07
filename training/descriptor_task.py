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
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ism_ros.descriptors.tiny_network import (
    CROP_PX,
    IDENTITY_WIDTH,
    VIEW_WIDTH,
    TinyDescriptorNetwork,
    network_input,
    valid_patches,
)
from ism_ros.masks import boxes_from_masks, crop_resize_pad
from ism_ros.objects.viewpoints import VIEW_COUNT, camera_positions
from ism_ros.scoring import semantic_score
from training.crops import changed_crop
from training.datasets import find_shards
from training.make_templates import template_file

Rng = np.random.Generator
FloatArray = NDArray[np.float32]

OBJECTS, CROPS, TEMPLATES = 24, 4, 8
HELD_BACK = 60
"""Objects, the last ones, that are not trained on."""
CLASS_TEMPERATURE, VIEW_TEMPERATURE, PATCH_TEMPERATURE = 0.07, 0.1, 0.07
NEAR_DEG, SAME_DEG = 35.0, 22.0
LEAST_VISIBLE = 0.3
"""Crops of objects of which less is seen are not asked about."""
LEAST_SHARE = 0.3
"""Of a patch inside the mask, for it to count."""
STEPS_AN_EPOCH = 250


class Batch:
    """What one step sees.

    crops: (B, 3, S, S) uint8 and masks (B, S, S) bool, `queries` of them from scenes, then templates. owner: (B,).
    weight: (Q, T) how much a template shows what a crop shows, 1 = the same view, 0 = another one or another object.
    """

    def __init__(self, crops: Tensor, masks: Tensor, owner: Tensor, weight: Tensor) -> None:
        self.crops, self.masks, self.owner, self.weight = crops, masks, owner, weight

    @property
    def queries(self) -> int:
        return int(self.weight.shape[0])


@lru_cache(maxsize=4096)
def _templates(file: Path) -> NDArray[np.uint8]:
    return np.load(file, mmap_mode="r")


@lru_cache(maxsize=4096)
def _likeness(file: Path) -> FloatArray:
    """How alike the 42 views of an object look, (42, 42) in [0, 1]: round things look the same from many sides."""
    views = np.asarray(_templates(file))
    small = np.stack([cv2.resize(view, (24, 24), interpolation=cv2.INTER_AREA) for view in views])
    flat = small.reshape(VIEW_COUNT, -1).astype(np.float32) / 255
    squared = (flat * flat).sum(axis=1)
    distance = (squared[:, None] + squared[None] - 2 * flat @ flat.T).clip(0) / flat.shape[1]
    return np.exp(-distance / 0.004).astype(np.float32)


class CropPool:
    """All crops of the shards, by object."""

    def __init__(self, shards: list[Path]) -> None:
        self.shards = shards
        stored = {
            name: [np.load(shard / f"crop_{name}.npy") for shard in shards]
            for name in ("object", "rotation", "visible")
        }
        counts = [len(objects) for objects in stored["object"]]
        self.shard = np.repeat(np.arange(len(shards)), counts)
        self.row = np.concatenate([np.arange(count) for count in counts])
        self.object, self.rotation, self.visible = (np.concatenate(parts) for parts in stored.values())
        self.of_object: dict[int, NDArray[np.int64]] = {
            int(o): np.flatnonzero((self.object == o) & (self.visible >= LEAST_VISIBLE)) for o in np.unique(self.object)
        }
        self.angle_deg = np.rad2deg(
            np.arccos(np.clip(-self.rotation[:, 2] @ camera_positions().T.astype(np.float32), -1, 1))
        )

    def picture(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Crop (128, 128, 3) and mask (128, 128) number `index`."""
        folder, row = self.shards[self.shard[index]], self.row[index]
        return np.array(_templates(folder / "crop_rgb.npy")[row]), np.array(_templates(folder / "crop_mask.npy")[row])


class BatchMaker(Dataset[Batch]):
    """Batch number k of an epoch; everything follows from (seed, epoch, k)."""

    def __init__(self, data: Path, pool: CropPool, objects: list[int], size: int, seed: int) -> None:
        self._data, self._pool, self._size, self._seed = data, pool, size, seed
        self._objects = [o for o in objects if o in pool.of_object]
        self.epoch = 0

    def __len__(self) -> int:
        return STEPS_AN_EPOCH

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng([33, self._seed, self.epoch, index])
        chosen = self._cast(rng)
        crops, masks, owner = [], [], []
        chosen_rows, chosen_views = [], []
        for label, number in enumerate(chosen):
            rows = rng.choice(self._pool.of_object[number], CROPS)
            nearest = self._pool.angle_deg[rows].argmin(axis=1)
            others = rng.permutation(VIEW_COUNT)
            views = list(dict.fromkeys([*nearest.tolist(), *others.tolist()]))[:TEMPLATES]
            for row in rows:
                rgb, mask = changed_crop(rng, *self._pool.picture(int(row)))
                crop, crop_mask = cut_out(rgb, mask)
                crops.append(crop)
                masks.append(crop_mask)
                owner.append(label)
            chosen_rows.append(rows)
            chosen_views.append(np.array(views))
        weight = np.zeros((len(chosen) * CROPS, len(chosen) * TEMPLATES), np.float32)
        for label, number in enumerate(chosen):
            file = template_file(self._data, number)
            rows, views = chosen_rows[label], chosen_views[label]
            for view in views:
                picture = np.array(_templates(file)[view])
                crops.append(torch.from_numpy(picture[..., :3].copy()).permute(2, 0, 1))
                masks.append(torch.from_numpy(picture[..., 3] > 0))
                owner.append(label)
            angle = self._pool.angle_deg[rows]
            alike = _likeness(file)[angle.argmin(axis=1)][:, views]
            near = np.exp(-((angle[:, views] / SAME_DEG) ** 2))
            own = slice(label * CROPS, (label + 1) * CROPS), slice(label * TEMPLATES, (label + 1) * TEMPLATES)
            weight[own] = np.maximum(near, alike)
        return Batch(torch.stack(crops), torch.stack(masks), torch.tensor(owner), torch.from_numpy(weight))

    def _cast(self, rng: Rng) -> list[int]:
        """Objects of a batch, half of them pairs of one shape."""
        known = set(self._objects)
        out: list[int] = []
        while len(out) < self._size:
            number = self._objects[rng.integers(len(self._objects))]
            pair = [number]
            if len(out) < self._size // 2:
                twin = number + 1 if number % 4 == 2 else number - 1 if number % 4 == 3 else None
                if twin is None or twin not in known:
                    continue
                pair.append(twin)
            out += [n for n in pair if n not in out]
        return out[: self._size]


def cut_out(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """The masked crop (3, 96, 96) uint8 and its mask (96, 96), cut as the runtime cuts proposals."""
    masks = torch.from_numpy(mask)[None]
    image = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))
    crops, crop_masks = crop_resize_pad(image, masks, boxes_from_masks(masks), CROP_PX)
    return crops[0], crop_masks[0]


class DescriptorTask:
    """See training.train.Task."""

    def __init__(self, options: argparse.Namespace) -> None:
        count = int(json.loads((options.data / "data.json").read_text())["objects"])
        self._data: Path = options.data
        self._device = torch.device(options.device)
        self._pool = CropPool(find_shards(options.data))
        self._train = BatchMaker(
            options.data, self._pool, list(range(count - HELD_BACK)), options.batch or OBJECTS, options.seed
        )
        self._unseen = list(range(count - HELD_BACK, count))
        self._workers = options.workers
        self.network: nn.Module = TinyDescriptorNetwork()
        self.steps_an_epoch = STEPS_AN_EPOCH

    def batches(self, epoch: int) -> Iterator[Batch]:
        self._train.epoch = epoch
        yield from DataLoader(
            self._train,
            batch_size=None,
            num_workers=self._workers,
            prefetch_factor=4 if self._workers else None,
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        crops, masks = batch.crops.to(self._device).float() / 255, batch.masks.to(self._device)
        pixels = network_input(crops, masks).contiguous(memory_format=torch.channels_last)
        tokens, patches = self.network(pixels)
        valid = valid_patches(pixels, LEAST_SHARE)
        with torch.autocast(self._device.type, enabled=False):
            owner, weight = batch.owner.to(self._device), batch.weight.to(self._device)
            return loss_of(tokens, patches * valid[:, :, None], valid, owner, weight)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """On objects never seen: share of crops whose object is found among all 60 and among random fives, and whose
        best template is within 35 degrees of the truth or looks the same."""
        rng = np.random.default_rng(35)
        tokens = torch.stack([self._describe(network, *self._of_templates(number)) for number in self._unseen])
        right, of_five, near, angles = [], [], [], []
        for label, number in enumerate(self._unseen):
            rows = self._pool.of_object.get(number, np.zeros(0, np.int64))[:10]
            if not len(rows):
                continue
            pictures = [cut_out(*changed_crop(rng, *self._pool.picture(int(row)))) for row in rows]
            query = self._describe(network, *(torch.stack(parts) for parts in zip(*pictures, strict=True)))
            pairwise = torch.einsum("nd,otd->not", query, tokens).clamp(0, 1)
            _, found, _ = semantic_score(pairwise)
            right += (found == label).tolist()
            five = [label, *rng.choice(np.delete(np.arange(len(self._unseen)), label), 4, replace=False)]
            of_five += (semantic_score(pairwise[:, five])[1] == 0).tolist()
            view = pairwise[:, label].argmax(dim=1).numpy()
            angle = self._pool.angle_deg[rows]
            alike = _likeness(template_file(self._data, number))[angle.argmin(axis=1), view]
            off = angle[np.arange(len(rows)), view]
            near += ((off <= NEAR_DEG) | (alike > 0.5)).tolist()
            angles += off.tolist()
        return {
            "top1_of_60": float(np.mean(right)),
            "top1_of_5": float(np.mean(of_five)),
            "view35": float(np.mean(near)),
            "median_angle": float(np.median(angles)),
        }

    def _of_templates(self, number: int) -> tuple[Tensor, Tensor]:
        views = np.array(_templates(template_file(self._data, number)))
        return torch.from_numpy(views[..., :3].copy()).permute(0, 3, 1, 2), torch.from_numpy(views[..., 3] > 0)

    def _describe(self, network: nn.Module, crops: Tensor, masks: Tensor) -> Tensor:
        """Class tokens (N, D) of crops (N, 3, S, S) uint8."""
        pixels = network_input(crops.to(self._device).float() / 255, masks.to(self._device))
        return network(pixels)[0].cpu()


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

    among_own = (views[:queries] @ views[queries:].T / VIEW_TEMPERATURE).masked_fill(~own, -1e4)
    wanted = weight * own
    wanted = wanted / wanted.sum(dim=1, keepdim=True).clamp(min=1e-6)
    view = -(wanted * F.log_softmax(among_own, dim=1)).sum(dim=1)

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
