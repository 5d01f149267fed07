"""Where the patch tokens of known objects are kept: in the device's memory, the host's, or in their cache file."""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.runtime.cache_folder import DAMAGED

PatchPlace = Literal["auto", "device", "host", "disk"]
"""Where patch tokens are wanted."""
PatchPrecision = Literal["float32", "float16"]
"""In which numbers they are kept."""

MAX_MEMORY_FRACTION = 0.5
"""Fraction of the memory that would be free without patch tokens which they take at most, with `auto`."""

Rebuild = Callable[[], "PatchFile"]
"""Writes a damaged file of patch tokens again; raises OSError or ValueError where it cannot."""

logger = logging.getLogger(__name__)


class DamagedFileError(ValueError):
    """A file of patch tokens whose content is not what was written."""


class PatchFile:
    """Patch tokens (T, P, C) in an .npy file, of which single templates are read.

    A template is compared with its checksum the first time it is read, so that a start reads no more than the header.
    Where the file is damaged then, `rebuild`, which whoever opens the file gives, writes it again: a frame that needs
    the template waits for that.

    The file is open only while it is read: a thousand mapped files would need a thousand file descriptors, and a
    mapped file that gets shorter ends the process. The system keeps what is read often in memory either way.

    Attributes:
        path: The file.
        checksums: CRC-32 of each template's bytes.
        shape: (T, P, C).
        dtype: float32 or float16.
    """

    def __init__(self, path: Path, checksums: tuple[int, ...], rebuild: Rebuild | None = None) -> None:
        """Read the header.

        Args:
            path: The file.
            checksums: CRC-32 of each template's bytes.
            rebuild: Writes the file again and returns it; None = damage is an error.

        Raises:
            OSError: The file cannot be read.
            DamagedFileError: It cannot hold what its header says.
        """
        self.path = path
        self.checksums = checksums
        self._rebuild = rebuild
        self.shape, self.dtype, self._offset = _header(path)
        if self.shape[0] != len(checksums):
            raise DamagedFileError(f"{path} holds {self.shape[0]} templates where {len(checksums)} were written")
        self._verified: set[int] = set()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Size of all patch tokens, bytes."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def read(self, template: int) -> Tensor:
        """Read the patch tokens of one template, rebuilding the file where it is damaged.

        Args:
            template: Its index.

        Returns:
            (P, C).

        Raises:
            OSError: They cannot be read, or are damaged and cannot be rebuilt.
        """
        try:
            return torch.from_numpy(self._read(template))
        except (OSError, DamagedFileError) as error:
            if self._rebuild is None:
                raise OSError(f"patch tokens cannot be read: {error}") from None
            logger.warning(
                "cached patch tokens %s are damaged and rebuilt (%s)", self.path, error, extra={"reason": DAMAGED}
            )
        with self._lock:
            try:
                return torch.from_numpy(self._read(template))  # another thread was here first
            except (OSError, DamagedFileError):
                fresh = self._rebuild()
                self.checksums, self._offset = fresh.checksums, fresh._offset
                self._verified.clear()
        try:
            return torch.from_numpy(self._read(template))
        except DamagedFileError as error:
            raise OSError(f"patch tokens cannot be read: {error}") from None

    def read_all(self) -> Tensor:
        """Read the patch tokens of all templates.

        Returns:
            (T, P, C).

        Raises:
            OSError: The file cannot be read.
            DamagedFileError: A template differs from its checksum.
        """
        tokens = np.empty(self.shape, self.dtype)
        with self.path.open("rb", buffering=0) as stream:
            stream.seek(self._offset)
            for template, rows in enumerate(tokens):
                self._fill(stream, rows)
                self._verify(template, rows)
        return torch.from_numpy(tokens)

    def _read(self, template: int) -> NDArray[np.generic]:
        rows = np.empty(self.shape[1:], self.dtype)
        with self.path.open("rb", buffering=0) as stream:
            stream.seek(self._offset + template * rows.nbytes)
            self._fill(stream, rows)
        if template not in self._verified:
            self._verify(template, rows)
            self._verified.add(template)
        return rows

    def _fill(self, stream: object, rows: NDArray[np.generic]) -> None:
        left = rows.data.cast("B")
        while len(left):
            count = stream.readinto(left)  # type: ignore[attr-defined]
            if not count:
                raise DamagedFileError(f"{self.path} ends too early")
            left = left[count:]

    def _verify(self, template: int, rows: NDArray[np.generic]) -> None:
        if zlib.crc32(rows.data) != self.checksums[template]:
            raise DamagedFileError(f"checksum of template {template} in {self.path} differs")


def checksums_of(tokens: NDArray[np.generic]) -> tuple[int, ...]:
    """Compute the checksum of each template.

    Args:
        tokens: (T, P, C), contiguous.

    Returns:
        CRC-32 of the bytes of each.
    """
    return tuple(zlib.crc32(rows.data) for rows in tokens)


def free_device_memory(device: str) -> int:
    """Measure the free memory of a device.

    Args:
        device: Such as "cuda:0".

    Returns:
        Bytes; 0 for devices other than NVIDIA GPUs.
    """
    return int(torch.cuda.mem_get_info(device)[0]) if torch.device(device).type == "cuda" else 0


def free_host_memory() -> int:
    """Measure the memory that can be had without swapping.

    Returns:
        Bytes, within the limit of the control group (v2) where there is one.
    """
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no limit, or not readable
        return free
    return max(0, min(free, limit - used))


@dataclass(frozen=True)
class PatchStorage:
    """How the patch tokens of one more object are to be kept.

    Attributes:
        place: Where.
        precision: In which numbers.
        held_on_device: Bytes of patch tokens that other objects have on the device already.
        held_on_host: The same of the host's memory.
        free_on_device: Measures the free memory of a device, bytes.
        free_on_host: The same of the host.
    """

    place: PatchPlace = "auto"
    precision: PatchPrecision = "float32"
    held_on_device: int = 0
    held_on_host: int = 0
    free_on_device: Callable[[str], int] = free_device_memory
    free_on_host: Callable[[], int] = free_host_memory

    def place_for(self, nbytes: int, device: str) -> Literal["device", "host", "disk"]:
        """Choose where patch tokens go.

        Args:
            nbytes: Their size.
            device: Of the model; on a CPU its memory is the host's.

        Returns:
            The wanted place; with `auto`, the first of device, host and disk where they fit.
        """
        on_cpu = torch.device(device).type == "cpu"
        if self.place != "auto":
            return "host" if self.place == "device" and on_cpu else self.place
        if not on_cpu and _fits(nbytes, self.held_on_device, self.free_on_device(device)):
            return "device"
        return "host" if _fits(nbytes, self.held_on_host, self.free_on_host()) else "disk"


def _fits(nbytes: int, held: int, free: int) -> bool:
    return held + nbytes <= MAX_MEMORY_FRACTION * (held + free)


def _header(path: Path) -> tuple[tuple[int, int, int], np.dtype[np.generic], int]:
    """Read shape, dtype and where the numbers begin; the file's size is checked, its numbers are not read."""
    with path.open("rb") as stream:
        try:
            version = np.lib.format.read_magic(stream)
            if version != (1, 0):
                raise ValueError(f"version {version}")
            shape, in_columns, dtype = np.lib.format.read_array_header_1_0(stream)
        except ValueError as error:
            raise DamagedFileError(f"{path} is no .npy file as written here ({error})") from None
        offset = stream.tell()
    if len(shape) != 3 or in_columns or dtype not in (np.float32, np.float16):
        raise DamagedFileError(f"{path} holds {dtype} of shape {shape} instead of patch tokens")
    wanted = offset + int(np.prod(shape)) * dtype.itemsize
    if path.stat().st_size != wanted:
        raise DamagedFileError(f"{path} has {path.stat().st_size} bytes instead of {wanted}")
    return shape, dtype, offset
