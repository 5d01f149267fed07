"""The objects file of a running node: read once, watched, and, where the user wants it, kept as the library is."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from pathlib import Path

from ism_ros.objects.spec import ObjectsFileError, ObjectSpec, parse_objects, read_text
from ism_ros.objects.stores.objects_text import EMPTY, changed_text, rewritten_text
from ism_ros.runtime.cache_folder import STALE_S

SETTLED_S = 0.3
"""A file that was written to so shortly ago may still be on its way."""
SETTLING_LIMIT_S = 3.0

_Signature = tuple[int, int, int]


class ObjectsStore:
    """`path` as it was read, and the changes since. Not for two threads at once.

    saves: whether changes are written to the file, which may then be missing or empty at the start. A change goes
    into the file as it is at that moment, so that what somebody wrote there meanwhile stays.
    """

    def __init__(self, path: Path, saves: bool) -> None:
        self.path = Path(os.path.realpath(path))  # a link stays a link
        self.saves = saves
        self._unsaved: dict[str, ObjectSpec | None] = {}
        self._text: str | None = None
        self._signature: _Signature | None = None
        self._is_edited = False

    @property
    def unsaved(self) -> tuple[str, ...]:
        """Ids of objects whose change is not in the file yet."""
        return tuple(self._unsaved)

    def read(self) -> tuple[ObjectSpec, ...]:
        """The objects of the file, once it is at rest. Raises ObjectsFileError."""
        self._unsaved, self._is_edited = {}, False
        if self.saves and not self.path.exists():
            self._text, self._signature = None, None
            return ()
        text, signature = _text_at_rest(self.path)
        specs = parse_objects(text, self.path, may_be_empty=self.saves)
        self._text, self._signature = text, signature
        return specs

    def is_edited(self) -> bool:
        """Whether the file was changed by somebody else since it was read; cheap as long as it was not touched."""
        if self._is_edited:
            return True
        signature = _signature(self.path)
        if signature != self._signature:
            try:
                text = read_text(self.path) if signature is not None else None
            except ObjectsFileError:
                text = ""
            self._is_edited = text != self._text
            self._signature = signature
        return self._is_edited

    def change(self, object_id: str, spec: ObjectSpec | None) -> None:
        """Notes an addition (`spec`) or removal (None), for the next `save`."""
        if self.saves:
            self._unsaved.pop(object_id, None)
            self._unsaved[object_id] = spec

    def save(self) -> str:
        """Writes the noted changes, whole or not at all, and says what else is to be known, '' if nothing.

        Raises ObjectsFileError or OSError, with the changes still noted, where the file cannot be used or written.
        """
        if not self._unsaved:
            return ""
        self.is_edited()
        text, said = self._current(), ""
        result = changed_text(text, self.path, self._unsaved)
        if result is None:
            backup = self.path.with_name(f"{self.path.name}.bak")
            _write(backup, text)
            result = rewritten_text(text, self.path, self._unsaved)
            said = f"{self.path} was written anew without its comments; {backup} has them"
        if result != text or not self.path.exists():
            _write(self.path, result)
        self._unsaved = {}
        self._text, self._signature = result, _signature(self.path)
        return said

    def _current(self) -> str:
        if self.path.exists():
            return _text_at_rest(self.path)[0]
        if self._text is not None:
            raise ObjectsFileError(f"objects file {self.path} is gone since it was read: put it back")
        return EMPTY


def _text_at_rest(path: Path) -> tuple[str, _Signature | None]:
    """The text of a file that was not written to for SETTLED_S, or for as long as anyone should have to wait."""
    deadline_s = time.monotonic() + SETTLING_LIMIT_S
    while True:
        signature = _signature(path)
        text = read_text(path)
        is_young = signature is not None and 0 <= time.time() - signature[0] * 1e-9 < SETTLED_S
        if (signature == _signature(path) and not is_young) or time.monotonic() > deadline_s:
            return text, signature
        time.sleep(SETTLED_S / 5)


def _signature(path: Path) -> _Signature | None:
    """Time of the last change, size and number of the file; None where it is not there."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size, about.st_ino


def _write(path: Path, text: str) -> None:
    """Whole or not at all: beside its place first. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_unfinished(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
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


def _remove_unfinished(path: Path) -> None:
    """What a program that was killed while writing left behind."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}")
    for other in path.parent.iterdir():
        if pattern.fullmatch(other.name) and time.time() - other.stat().st_mtime > STALE_S:
            other.unlink(missing_ok=True)
