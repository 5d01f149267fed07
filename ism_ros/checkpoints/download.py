"""Download of one file: resumed where it stopped, checked before it gets its name, whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import MaxRetryError

from ism_ros.checkpoints.catalog import partial_path
from ism_ros.errors import first_line

Progress = Callable[[str, int, "int | None"], None]
"""Callback: what is being done (fetching, checking), bytes done, and bytes in all where known."""

BLOCK_BYTES = 1 << 16
"""Bytes read at a time; of a dropped connection no more than this is lost."""
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 15.0, 60.0
"""Longest wait for a connection, and for the next bytes."""
TRIES = 5
"""Attempts in a row that may bring nothing new; one that brought something starts the count again."""

_RETRY_STATUS = {408, 425, 429, 500, 502, 503, 504}


class DownloadError(OSError):
    """A file that could not be downloaded; the message is one clause that says why."""


class _DroppedError(Exception):
    """The connection ended early; the next attempt resumes there."""


def download(
    url: str,
    target: Path,
    size_bytes: int | None = None,
    sha256: str | None = None,
    progress: Progress = lambda doing, done, total: None,
    retry_wait_s: float = 1.0,
) -> None:
    """Fetch a file from the web.

    What has arrived lies in partial_path(target) until size and hash are right; a later call resumes there.

    Args:
        url: The file.
        target: Where it goes; it exists afterwards only if size and hash are right. Folders above it are made.
        size_bytes: Expected size; None = not known.
        sha256: Expected SHA-256, hexadecimal; None = not known.
        progress: Called with what is being done, bytes done, and bytes in all or None.
        retry_wait_s: Wait before the second attempt in a row that brought nothing new; doubled for each further one.

    Raises:
        DownloadError: Host not reached, request refused, wrong size or hash, no space, or another download of the same
            file in progress.
    """
    part = partial_path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            _lock(file, part)
            with _no_empty_file(part):
                _complete(url, file, part, size_bytes, sha256, progress, retry_wait_s)
                part.replace(target)
    except OSError as error:
        if isinstance(error, DownloadError):
            raise
        raise DownloadError(_explain(error, target, size_bytes)) from None


def sha256_of(path: Path, progress: Progress = lambda doing, done, total: None) -> str:
    """Compute the SHA-256 of a file.

    Args:
        path: The file.
        progress: Called with "checking", bytes done, and bytes in all.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    total = path.stat().st_size
    done = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            done += len(block)
            progress("checking", done, total)
    return digest.hexdigest()


def _complete(
    url: str,
    file: BinaryIO,
    part: Path,
    size_bytes: int | None,
    sha256: str | None,
    progress: Progress,
    retry_wait_s: float,
) -> None:
    """Make `file`, whose path is `part`, the whole file that was requested, on the disk."""
    resumed = file.tell() > 0
    _fetch(url, file, size_bytes, progress, retry_wait_s)
    found = _sha256_or_none(part, sha256, progress)
    if resumed and found != sha256:
        # What was left from before may have been of another file: once more from the start.
        _empty(file)
        _fetch(url, file, size_bytes, progress, retry_wait_s)
        found = _sha256_or_none(part, sha256, progress)
    if found != sha256:
        _empty(file)
        raise DownloadError(f"what {_host(url)} sent has SHA-256 {found} instead of {sha256}, and was deleted")
    file.flush()
    os.fsync(file.fileno())


def _sha256_or_none(path: Path, wanted: str | None, progress: Progress) -> str | None:
    return None if wanted is None else sha256_of(path, progress)


def _fetch(url: str, file: BinaryIO, size_bytes: int | None, progress: Progress, retry_wait_s: float) -> None:
    """Append what is missing to `file`, over as many connections as it takes."""
    fruitless = 0
    while True:
        before = file.tell()
        if size_bytes is not None and before == size_bytes:
            return
        try:
            _attempt(url, file, size_bytes, progress)
            return
        except _DroppedError as reason:
            fruitless = 0 if file.tell() > before else fruitless + 1
            if fruitless >= TRIES:
                raise DownloadError(f"{_host(url)} {reason}, {TRIES} times in a row") from None
        if fruitless:
            time.sleep(retry_wait_s * 2 ** (fruitless - 1))


def _attempt(url: str, file: BinaryIO, size_bytes: int | None, progress: Progress) -> None:
    """Fetch over one connection; raises _DroppedError where another one may do better."""
    start = file.tell()
    # Compressed on the way, positions in the file and bytes on the wire would not be the same thing.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S)) as response:
            total = _total_bytes(response, url, file, size_bytes)
            _check_room(file, total)
            done = file.tell()
            progress("fetching", done, total)
            for block in response.iter_content(BLOCK_BYTES):
                file.write(block)
                done += len(block)
                progress("fetching", done, total)
            file.flush()
    except requests.ConnectionError as error:
        if error.args and isinstance(error.args[0], MaxRetryError):
            raise DownloadError(f"{_host(url)} cannot be reached ({_reason(error.args[0])})") from None
        raise _DroppedError("drops the connection") from None
    except requests.Timeout:
        raise _DroppedError(f"sends nothing for {READ_TIMEOUT_S:.0f} s") from None
    except requests.exceptions.ChunkedEncodingError:
        raise _DroppedError("drops the connection") from None
    except requests.RequestException as error:
        raise DownloadError(f"{url} cannot be fetched ({first_line(error)})") from None
    if total is not None and done < total:
        raise _DroppedError("drops the connection")
    if total is not None and done > total:
        _empty(file)
        raise DownloadError(f"{_host(url)} sent {done} bytes where {total} were announced")


def _total_bytes(response: requests.Response, url: str, file: BinaryIO, size_bytes: int | None) -> int | None:
    """Determine the size of the whole file that `response` is a part of; empty `file` where it starts again."""
    status = response.status_code
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        _empty(file)
        raise _DroppedError("has no such part of the file")
    if status in _RETRY_STATUS:
        raise _DroppedError(f"answers {status} {response.reason}")
    if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        raise DownloadError(f"{_host(url)} answers {status} {response.reason}")
    total: int | None
    if status == HTTPStatus.PARTIAL_CONTENT:
        first, total = _content_range(response.headers.get("Content-Range", ""))
        if first != file.tell():
            raise DownloadError(f"{_host(url)} sends another part of the file than the one asked for")
    else:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
    if None not in (total, size_bytes) and total != size_bytes:
        raise DownloadError(f"{_host(url)} offers {total} bytes where {size_bytes} are expected")
    if status == HTTPStatus.OK:
        _empty(file)
    return size_bytes if total is None else total


def _content_range(header: str) -> tuple[int | None, int | None]:
    """Parse first byte and total of `bytes 100-999/1000`; None for what it does not say."""
    span, _, total = header.removeprefix("bytes ").partition("/")
    first = span.split("-")[0]
    return int(first) if first.isdigit() else None, int(total) if total.isdigit() else None


def _check_room(file: BinaryIO, total: int | None) -> None:
    """Raise OSError where the disk is too small, before gigabytes have arrived."""
    missing = 0 if total is None else total - file.tell()
    if missing > shutil.disk_usage(Path(file.name).parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _lock(file: BinaryIO, part: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between opening and locking, the other process may have finished and given the file its final name.
        mine = part.exists() and os.path.samestat(part.stat(), os.fstat(file.fileno()))
    except BlockingIOError:
        mine = False
    if not mine:
        raise DownloadError(f"{part.stem} is being fetched by another process")


def _empty(file: BinaryIO) -> None:
    if file.tell() > 0:
        file.truncate(0)
        file.seek(0)


@contextlib.contextmanager
def _no_empty_file(path: Path) -> Iterator[None]:
    """Remove `path` at the end if it is empty."""
    try:
        yield
    finally:
        if path.is_file() and path.stat().st_size == 0:
            path.unlink()


def _explain(error: OSError, target: Path, size_bytes: int | None) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        needs = f"{target.name} needs {size_bytes / 1e9:.2f} GB, and " if size_bytes else ""
        free = shutil.disk_usage(target.parent).free / 1e9
        return f"the disk is full: {needs}{target.parent} has {free:.2f} GB left"
    return f"{error.filename or target} cannot be written: {error.strerror or error}"


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _reason(error: MaxRetryError) -> str:
    """Say why no connection could be made, without addresses of Python objects."""
    words = str(error.reason).split(": ", 1)[-1]
    return words.split("] ")[-1].rstrip(")'\"").lower()
