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
PatchPrecision = Literal["float32", "float16"]

MEMORY_SHARE = 0.5
"""With `auto`, patch tokens take at most this share of the memory that would be free without them."""

logger = logging.getLogger(__name__)


class DamagedFileError(ValueError):
    """A file of patch tokens whose content is not what was written."""


class PatchFile:
    """Patch tokens (T, P, C) in an .npy file, of which single templates are read.

    checksums: CRC-32 of each template's bytes. A template is held against its own the first time it is read, so that
    a start reads no more than the header. remake: writes the file anew, called where it turns out to be damaged.

    The file is open only while it is read: a thousand mapped files would need a thousand file descriptors, and a
    mapped file that gets shorter ends the process. The system keeps what is read often in memory either way.
    """

    def __init__(self, path: Path, checksums: tuple[int, ...], remake: Callable[[], PatchFile] | None = None) -> None:
        """Raises OSError, or DamagedFileError where the file cannot hold what its header says."""
        self.path = path
        self.checksums = checksums
        self.remake = remake
        self.shape, self.dtype, self._offset = _header(path)
        if self.shape[0] != len(checksums):
            raise DamagedFileError(f"{path} holds {self.shape[0]} templates where {len(checksums)} were written")
        self._verified: set[int] = set()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def read(self, template: int) -> Tensor:
        """Patch tokens (P, C) of one template. Raises OSError where they are damaged and cannot be made anew."""
        try:
            return torch.from_numpy(self._read(template))
        except (OSError, DamagedFileError) as error:
            if self.remake is None:
                raise OSError(f"patch tokens cannot be read: {error}") from None
            logger.warning(
                "cached patch tokens %s are damaged and made anew (%s)", self.path, error, extra={"reason": DAMAGED}
            )
        with self._lock:
            try:
                return torch.from_numpy(self._read(template))  # another thread was here first
            except (OSError, DamagedFileError):
                fresh = self.remake()
                self.checksums, self._offset = fresh.checksums, fresh._offset
                self._verified.clear()
        try:
            return torch.from_numpy(self._read(template))
        except DamagedFileError as error:
            raise OSError(f"patch tokens cannot be read: {error}") from None

    def read_all(self) -> Tensor:
        """(T, P, C), every template held against its checksum. Raises OSError or DamagedFileError."""
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
    """CRC-32 of each template's bytes, tokens (T, P, C) contiguous."""
    return tuple(zlib.crc32(rows.data) for rows in tokens)


@dataclass(frozen=True)
class PatchStorage:
    """How the patch tokens of one more object are to be kept.

    held_on_device, held_on_host: bytes of patch tokens that other objects have there already.
    """

    place: PatchPlace = "auto"
    precision: PatchPrecision = "float32"
    held_on_device: int = 0
    held_on_host: int = 0

    def place_for(self, nbytes: int, device: str) -> Literal["device", "host", "disk"]:
        """Where `nbytes` of patch tokens go. On a CPU the device's memory is the host's."""
        on_cpu = torch.device(device).type == "cpu"
        if self.place != "auto":
            return "host" if self.place == "device" and on_cpu else self.place
        if not on_cpu and _fits(nbytes, self.held_on_device, free_device_memory(device)):
            return "device"
        return "host" if _fits(nbytes, self.held_on_host, free_host_memory()) else "disk"


def free_device_memory(device: str) -> int:
    """Bytes free on a GPU; 0 for devices that do not tell."""
    return int(torch.cuda.mem_get_info(device)[0]) if torch.device(device).type == "cuda" else 0


def free_host_memory() -> int:
    """Bytes that can be had without swapping, within the limit of the control group (v2) where there is one."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no limit, or not told
        return free
    return max(0, min(free, limit - used))


def _fits(nbytes: int, held: int, free: int) -> bool:
    return held + nbytes <= MEMORY_SHARE * (held + free)


def _header(path: Path) -> tuple[tuple[int, int, int], np.dtype[np.generic], int]:
    """Shape, dtype and where the numbers begin; the file's size is checked, its numbers are not read."""
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
