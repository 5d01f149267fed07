"""The objects file of a running program: read once, watched for edits, and changed with the library where wanted."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ism_ros.objects.spec import ObjectsFileError, ObjectSpec, parse_objects, read_text
from ism_ros.objects.stores.objects_text import EMPTY, changed_text, rewritten_text
from ism_ros.runtime.atomic_files import write_atomically

SETTLED_S = 0.3
"""Time since the last change after which a file is taken to be complete, seconds."""
SETTLING_LIMIT_S = 3.0
"""Longest wait for that, seconds."""

_Signature = tuple[int, int, int]


class ObjectsStore:
    """An objects file as it was read, and the changes since; not for two threads at once.

    A change goes into the file as it is at that moment, so that what somebody wrote there meanwhile stays.

    Attributes:
        path: The file, links followed, so that a link stays one.
        saves: Whether changes are written to the file.
    """

    def __init__(self, path: Path, saves: bool) -> None:
        """Keep the path; nothing is read yet.

        Args:
            path: The file.
            saves: Whether changes are written to it; it may be missing or empty at the start then.
        """
        self.path = Path(os.path.realpath(path))
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
        """Read the file once it has not been written to for SETTLED_S, and drop unsaved changes.

        Returns:
            The objects in the order of the file.

        Raises:
            ObjectsFileError: The file cannot be used.
        """
        self._unsaved, self._is_edited = {}, False
        if self.saves and not self.path.exists():
            self._text, self._signature = None, None
            return ()
        text, signature = _text_at_rest(self.path)
        specs = parse_objects(text, self.path, may_be_empty=self.saves)
        self._text, self._signature = text, signature
        return specs

    def is_edited(self) -> bool:
        """Check whether somebody else changed the file since it was read; cheap as long as it was not touched."""
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
        """Note a change for the next `save`.

        Args:
            object_id: The object.
            spec: What it is from now on; None = it is removed.
        """
        if self.saves:
            self._unsaved.pop(object_id, None)
            self._unsaved[object_id] = spec

    def save(self) -> str:
        """Write the noted changes, whole or not at all.

        Returns:
            What users should know of it, '' if nothing.

        Raises:
            ObjectsFileError: The file cannot be used; the changes are still noted.
            OSError: It cannot be written; the changes are still noted.
        """
        if not self._unsaved:
            return ""
        self.is_edited()
        text, notice = self._current(), ""
        result = changed_text(text, self.path, self._unsaved)
        if result is None:
            backup = self.path.with_name(f"{self.path.name}.bak")
            write_atomically(backup, text, durable=True)
            result = rewritten_text(text, self.path, self._unsaved)
            notice = f"{self.path} was rewritten without its comments; {backup} has them"
        if result != text or not self.path.exists():
            write_atomically(self.path, result, durable=True)
        self._unsaved = {}
        self._text, self._signature = result, _signature(self.path)
        return notice

    def _current(self) -> str:
        if self.path.exists():
            return _text_at_rest(self.path)[0]
        if self._text is not None:
            raise ObjectsFileError(f"objects file {self.path} is gone since it was read: put it back")
        return EMPTY


def _text_at_rest(path: Path) -> tuple[str, _Signature | None]:
    """Read a file once it was not written to for SETTLED_S, or after SETTLING_LIMIT_S."""
    deadline_s = time.monotonic() + SETTLING_LIMIT_S
    while True:
        signature = _signature(path)
        text = read_text(path)
        is_young = signature is not None and 0 <= time.time() - signature[0] * 1e-9 < SETTLED_S
        if (signature == _signature(path) and not is_young) or time.monotonic() > deadline_s:
            return text, signature
        time.sleep(SETTLED_S / 5)


def _signature(path: Path) -> _Signature | None:
    """Return time of the last change, size and inode of a file; None where it is not there."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size, about.st_ino
