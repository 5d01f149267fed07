"""Patch tokens are kept where there is room for them, and only those of chosen templates are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from ism_ros.matching import sam6d
from ism_ros.matching.sam6d import match_sam6d
from ism_ros.matching.scores import patch_scores, similarity
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.library import ObjectLibrary
from ism_ros.objects.stores.descriptor_cache import write_descriptors
from ism_ros.objects.stores.patch_tokens import DamagedFileError, PatchFile, PatchPlace, PatchStorage, free_host_memory

GB = 10**9


def written(folder: Path, tokens: np.ndarray) -> PatchFile:
    file = write_descriptors(folder / "key", {"class_tokens": tokens[:, 0].astype(np.float32)}, tokens)
    assert file is not None
    return file


def tokens(templates: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((templates, 6, 5)).astype(np.float32)


def storage(place: PatchPlace, free: dict[str, int], **held: int) -> PatchStorage:
    """Storage on a machine with so many bytes free on the GPU ("device") and on the host."""
    return PatchStorage(place, **held, free_on_device=lambda _: free["device"], free_on_host=lambda: free["host"])


def test_auto_fills_half_of_the_device_then_half_of_the_host_then_the_disk() -> None:
    free = {"device": 10 * GB, "host": 10 * GB}
    held = {"device": 0, "host": 0, "disk": 0}
    for _ in range(14):
        now = storage("auto", free, held_on_device=held["device"], held_on_host=held["host"])
        place = now.place_for(GB, "cuda:0")
        held[place] += GB
        if place in free:
            free[place] -= GB
    assert held == {"device": 5 * GB, "host": 5 * GB, "disk": 4 * GB}


def test_on_a_cpu_the_devices_memory_is_the_hosts() -> None:
    free = {"device": 10 * GB, "host": 10 * GB}
    assert storage("auto", free).place_for(GB, "cpu") == "host"
    assert storage("device", free).place_for(100 * GB, "cpu") == "host"
    assert storage("auto", free).place_for(6 * GB, "cpu") == "disk"


@pytest.mark.parametrize("place", ["device", "host", "disk"])
def test_a_place_that_was_asked_for_is_taken_whatever_is_free(place: PatchPlace) -> None:
    assert storage(place, {"device": 0, "host": 0}).place_for(GB, "cuda:0") == place


def test_the_hosts_free_memory_is_some_of_it() -> None:
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert 0 < free_host_memory() < total


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_template_is_read_as_it_was_written(tmp_path: Path, dtype: type) -> None:
    stored = tokens().astype(dtype)
    file = written(tmp_path, stored)
    assert (file.shape, file.dtype, file.nbytes) == ((3, 6, 5), dtype, stored.nbytes)
    for template in (2, 0, 2):
        assert np.array_equal(file.read(template).numpy(), stored[template])
    assert np.array_equal(file.read_all().numpy(), stored)


def test_the_file_is_a_plain_array_that_numpy_can_map(tmp_path: Path) -> None:
    file = written(tmp_path, tokens())
    mapped = np.load(file.path, mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    assert np.array_equal(mapped, tokens())


def test_only_the_chosen_templates_are_read(tmp_path: Path) -> None:
    file = written(tmp_path, tokens())
    content = bytearray(file.path.read_bytes())
    content[-1] ^= 1
    file.path.write_bytes(content)
    assert np.array_equal(file.read(1).numpy(), tokens()[1])
    with pytest.raises(OSError, match="checksum of template 2"):
        file.read(2)
    with pytest.raises(DamagedFileError, match="checksum of template 2"):
        file.read_all()


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    stored = tokens(1)
    file = written(tmp_path, stored)
    healthy = file.path.read_bytes()
    first = len(healthy) - stored.nbytes
    for bit in range(0, 8 * stored.nbytes, 7):
        content = bytearray(healthy)
        content[first + bit // 8] ^= 1 << bit % 8
        file.path.write_bytes(content)
        with pytest.raises(OSError, match="checksum"):
            PatchFile(file.path, file.checksums).read(0)


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_a_file_of_another_length_is_refused_without_reading_it(tmp_path: Path, length: int) -> None:
    file = written(tmp_path, tokens())
    file.path.write_bytes(file.path.read_bytes()[:length])
    with pytest.raises(DamagedFileError):
        PatchFile(file.path, file.checksums)


def test_a_library_mixes_places(tmp_path: Path) -> None:
    in_memory, on_disk = tokens(4, seed=1), tokens(3, seed=2)
    library = ObjectLibrary(
        (
            KnownObject("a", 1, torch.eye(4, 8), torch.from_numpy(in_memory)),
            KnownObject("b", 2, torch.eye(3, 8), written(tmp_path, on_disk)),
            KnownObject("c", 3, torch.eye(3, 8), torch.from_numpy(on_disk).half()),
        )
    )
    objects, templates = torch.tensor([1, 0, 1, 2, 0]), torch.tensor([2, 3, 0, 1, 3])
    gathered = library.patch_tokens_of(objects, templates)
    assert gathered.dtype == torch.float32
    wanted = [on_disk[2], in_memory[3], on_disk[0], on_disk[1].astype(np.float16), in_memory[3]]
    assert np.array_equal(gathered.numpy(), np.stack(wanted).astype(np.float32))
    each = {tuple(rows.tolist()): chosen for chosen, rows in library.chosen_patch_tokens(objects, templates)}
    assert set(each) == {(0,), (1, 4), (2,), (3,)}
    assert all(torch.equal(chosen, gathered[row]) for rows, chosen in each.items() for row in rows)
    assert library.patch_bytes() == {"cpu": in_memory.nbytes + on_disk.nbytes // 2, "disk": on_disk.nbytes}


def test_a_thousand_objects_with_patch_tokens_in_files_are_told_apart(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    looks = torch.randn((1000, 1, 64), generator=generator)
    class_tokens = normalize(looks + 0.3 * torch.randn((1000, 42, 64), generator=generator), dim=2)
    patches = normalize(torch.randn((1000, 42, 4, 8), generator=generator), dim=3)
    files = [written(tmp_path / str(index), tokens.numpy()) for index, tokens in enumerate(patches)]
    library = ObjectLibrary(
        tuple(KnownObject(str(index), index, class_tokens[index], file) for index, file in enumerate(files))
    )
    objects = torch.randperm(1000, generator=generator)[:50]
    templates = torch.randint(42, (50,), generator=generator)
    pairwise = similarity.pairwise_similarity(class_tokens[objects, templates], library.class_tokens, unit_rows=True)
    found = match_sam6d(pairwise, patches[objects, templates], library, 0.2)
    assert found.object_index.tolist() == objects.tolist()
    assert found.template_index.tolist() == templates.tolist()
    torch.testing.assert_close(found.appearance, torch.ones(50))


def test_scores_from_half_precision_agree_to_a_thousandth() -> None:
    generator = torch.Generator().manual_seed(0)
    template = normalize(torch.randn((40, 256, 1024), generator=generator), dim=2)
    noise = normalize(torch.randn((40, 256, 1024), generator=generator), dim=2)
    # cosines of 0.3 to 0.7 with the template's patches: on both sides of where a patch counts as visible
    share = torch.linspace(0.3, 0.7, 256)[None, torch.randperm(256, generator=generator), None]
    query = share * template + (1 - share**2).sqrt() * noise
    exact = patch_scores.patch_scores(query, template)
    halved = patch_scores.patch_scores(query, template.half().float())
    assert (exact[0] - halved[0]).abs().max() < 2e-5
    ones = torch.ones(40)
    final = [sam6d.final_score(0.7 * ones, appearance, 0.8 * ones, ratio) for appearance, ratio in (exact, halved)]
    assert (final[0] - final[1]).abs().max() < 1e-3
