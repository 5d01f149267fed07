"""Uploaded objects on the disk, where several servers may share them.

STATE_DIR/objects.yaml         the objects that are known, as of any objects file
STATE_DIR/uploads/<job>/       the files of one upload: a CAD file, or templates/, or both
STATE_DIR/jobs/<job>.json      what became of it
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import shutil
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ism_ros.model import InstanceSegmentationModel
from ism_ros.objects.spec import ObjectsFileError, ObjectSpec
from ism_ros.objects.stores.objects_file import ObjectsStore
from ism_ros.server.errors import RequestError, WorkerDiedError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StateFolder:
    """Paths in ISM_STATE_DIR."""

    path: Path

    @property
    def objects_file(self) -> Path:
        return self.path / "objects.yaml"

    @property
    def uploads(self) -> Path:
        return self.path / "uploads"

    @property
    def jobs(self) -> Path:
        return self.path / "jobs"

    def upload(self, job_id: str) -> Path:
        return self.uploads / job_id

    def job_file(self, job_id: str) -> Path:
        return self.jobs / f"{job_id}.json"

    def within_uploads(self, specs: Iterable[ObjectSpec]) -> tuple[ObjectSpec, ...]:
        """The objects of the list, each of which sees only the files of its own upload."""
        return tuple(replace(spec, root=self.upload_of(spec)) for spec in specs)

    def upload_of(self, spec: ObjectSpec) -> Path | None:
        """The folder of the files of an object, or None where they are elsewhere."""
        path = spec.cad or spec.templates
        if path is None or not path.is_relative_to(self.uploads):
            return None
        return self.uploads / path.relative_to(self.uploads).parts[0]

    def make(self) -> None:
        """Raises OSError."""
        for folder in (self.uploads, self.jobs):
            folder.mkdir(parents=True, exist_ok=True)


class Library(Protocol):
    """What follows the list: an Engine, or a model."""

    def add_object(self, spec: ObjectSpec) -> object:
        """Raises ValueError or OSError with one line that says why."""
        ...

    def remove_object(self, object_id: str) -> None: ...


class StoredObjects:
    """The list of uploaded objects: changed here, or by another server that uses the same folder."""

    def __init__(self, folder: StateFolder) -> None:
        self.folder = folder
        self.specs: dict[str, ObjectSpec] = {}
        self._store = ObjectsStore(folder.objects_file, saves=True)
        self._lock = threading.Lock()
        self._missed: set[str] = set()

    def read(self) -> None:
        """To be called before anything else. Raises ObjectsFileError or OSError."""
        self.folder.make()
        self.specs = {spec.id: spec for spec in self.folder.within_uploads(self._store.read())}

    def put(self, spec: ObjectSpec) -> None:
        """Writes an object down, in the place of that with its id, whose files go. Raises RequestError 507."""
        with self._lock:
            before = self.specs.get(spec.id)
            self._change(spec.id, spec)
        self._remove_files(before)

    def remove(self, object_id: str) -> bool:
        """False where it is not known (any more). Raises RequestError 507 where that cannot be written."""
        with self._lock:
            before = self.specs.get(object_id)
            if before is None:
                return False
            self._change(object_id, None)
        self._remove_files(before)
        return True

    def follow(self, library: Library) -> None:
        """Takes over what another server changed; cheap as long as none did.

        What a worker died of is taken over by the next call.
        """
        with self._lock:
            if not self._store.is_edited() and not self._missed:
                return
            before = self.specs
            try:
                self.specs = {spec.id: spec for spec in self.folder.within_uploads(self._store.read())}
            except ObjectsFileError as error:
                logger.error("uploaded objects stay as they are: %s", error)
                return
            after = dict(self.specs)
            missed, self._missed = self._missed, set()
        for object_id in before.keys() - after.keys():
            library.remove_object(object_id)
        for object_id, spec in after.items():
            if before.get(object_id) != spec or object_id in missed:
                try:
                    library.add_object(spec)
                except WorkerDiedError:
                    self._missed.add(object_id)
                except (ValueError, OSError) as error:
                    logger.error("uploaded object '%s' cannot be used: %s", object_id, error)

    def _change(self, object_id: str, spec: ObjectSpec | None) -> None:
        with self._alone():
            self._store.change(object_id, spec)
            try:
                self._store.save()
                # with what others wrote meanwhile, which `follow` has yet to see
            except (ObjectsFileError, OSError) as error:
                self._store.read()  # what could not be saved is not tried again
                raise RequestError(507, f"{self.folder.objects_file.name} cannot be written: {error}") from None
        specs = {name: one for name, one in self.specs.items() if name != object_id}
        self.specs = specs if spec is None else {**specs, object_id: spec}

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """No other server changes the list meanwhile."""
        with self.folder.objects_file.with_suffix(".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _remove_files(self, spec: ObjectSpec | None) -> None:
        upload = None if spec is None else self.folder.upload_of(spec)
        if upload is not None:
            shutil.rmtree(upload, ignore_errors=True)


def read_stored(folder: Path) -> tuple[ObjectSpec, ...]:
    """What was uploaded before. Raises ObjectsFileError."""
    state = StateFolder(folder)
    return state.within_uploads(ObjectsStore(state.objects_file, saves=True).read())


def load_stored(specs: Iterable[ObjectSpec], model: InstanceSegmentationModel) -> None:
    """Onboards what was uploaded before; one that cannot be is told in the log and does not hinder the others."""
    for spec in specs:
        try:
            if spec.id in model.library.ids:
                raise ValueError("the objects file has one of the same id")
            model.put(model.onboard(spec))
        except (ValueError, OSError) as error:
            logger.error("uploaded object '%s' cannot be used: %s; delete it or upload it again", spec.id, error)
