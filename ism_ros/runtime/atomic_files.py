"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

STALE_S = 3600.0
"""Nothing takes so long to write: what is unfinished and this old was left by a program that was killed."""


@contextlib.contextmanager
def open_atomically(path: Path, mode: str = "w", durable: bool = False) -> Iterator[IO[Any]]:
    """Open a file for writing that takes its place only when the block ends without an error.

    Written beside its place first, under a name that starts with a dot; what a killed program left there is removed.
    An existing file keeps its permissions, a new one may be read by all.

    Args:
        path: The file; folders above it are made.
        mode: "w" for text in UTF-8 with line ends as they are, or "wb".
        durable: Wait until the bytes are on the disk.

    Yields:
        The stream to write to.

    Raises:
        OSError: The file cannot be written; what was there before is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_unfinished(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with os.fdopen(handle, mode, **text) as stream:  # type: ignore[call-overload]
            yield stream
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        if path.exists():
            shutil.copymode(path, name)
        else:
            os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: str | bytes, durable: bool = False) -> None:
    """Write a file whole or not at all.

    Args:
        path: The file; folders above it are made.
        content: Text (written as UTF-8) or bytes.
        durable: Wait until the bytes are on the disk.

    Raises:
        OSError: As of `open_atomically`.
    """
    with open_atomically(path, "w" if isinstance(content, str) else "wb", durable) as stream:
        stream.write(content)


def _remove_unfinished(path: Path) -> None:
    """Remove what a program that was killed while writing left behind."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}")
    for other in path.parent.iterdir():
        if pattern.fullmatch(other.name):
            # another process may be faster, or the file somebody else's: neither hinders the write
            with contextlib.suppress(OSError):
                if time.time() - other.stat().st_mtime > STALE_S:
                    other.unlink()
