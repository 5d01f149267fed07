"""The list of uploaded objects on the disk, where several servers may share it."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from ism_ros.objects.spec import ObjectsFileError, ObjectSpec
from ism_ros.objects.stores.objects_file import ObjectsStore
from ism_ros.server.errors import BackendDiedError, RequestError
from ism_ros.server.objects.object_info import ObjectTarget
from ism_ros.server.objects.state_folder import StateFolder

logger = logging.getLogger(__name__)


class UploadedObjects:
    """The uploaded objects: changed here, or by another server that uses the same folder.

    Attributes:
        folder: Where they are kept.
        specs: The objects by id, as of the last time that they were read or changed.
    """

    def __init__(self, folder: StateFolder) -> None:
        """Initialize; `read` is to be called before anything else.

        Args:
            folder: Where the objects are kept.
        """
        self.folder = folder
        self.specs: dict[str, ObjectSpec] = {}
        self._store = ObjectsStore(folder.objects_file, saves=True)
        self._lock = threading.Lock()
        self._not_added: set[str] = set()

    def read(self) -> None:
        """Read the list, and make the folders where they are not there.

        Raises:
            ObjectsFileError: The list cannot be used.
            OSError: A folder cannot be made.
        """
        self.folder.make()
        self.specs = {spec.id: spec for spec in self.folder.confined(self._store.read())}

    def put(self, spec: ObjectSpec) -> None:
        """Write an object down, in the place of that with its id, whose files are removed.

        Args:
            spec: The object.

        Raises:
            RequestError: 507 where the list cannot be written.
        """
        with self._lock:
            before = self.specs.get(spec.id)
            self._change(spec.id, spec)
        self._remove_files(before)

    def remove(self, object_id: str) -> bool:
        """Remove an object and its files.

        Args:
            object_id: Its id.

        Returns:
            False where it is not known (any more).

        Raises:
            RequestError: 507 where the list cannot be written.
        """
        with self._lock:
            before = self.specs.get(object_id)
            if before is None:
                return False
            self._change(object_id, None)
        self._remove_files(before)
        return True

    def follow(self, target: ObjectTarget) -> None:
        """Apply what another server changed; cheap as long as none did.

        An object over which a process ended is added again by the next call.

        Args:
            target: Where objects are added and removed.
        """
        with self._lock:
            if not self._store.is_edited() and not self._not_added:
                return
            before = self.specs
            try:
                self.specs = {spec.id: spec for spec in self.folder.confined(self._store.read())}
            except ObjectsFileError as error:
                logger.error("uploaded objects stay as they are: %s", error)
                return
            after = dict(self.specs)
            not_added, self._not_added = self._not_added, set()
        for object_id in before.keys() - after.keys():
            target.remove_object(object_id)
        for object_id, spec in after.items():
            if before.get(object_id) != spec or object_id in not_added:
                try:
                    target.add_object(spec)
                except BackendDiedError:
                    self._not_added.add(object_id)
                except (ValueError, OSError) as error:
                    logger.error("uploaded object '%s' cannot be used: %s", object_id, error)

    def _change(self, object_id: str, spec: ObjectSpec | None) -> None:
        with self._locked_file():
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
    def _locked_file(self) -> Iterator[None]:
        """Keep other servers from changing the list meanwhile."""
        with self.folder.objects_file.with_suffix(".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _remove_files(self, spec: ObjectSpec | None) -> None:
        upload = None if spec is None else self.folder.upload_of(spec)
        if upload is not None:
            shutil.rmtree(upload, ignore_errors=True)


def read_uploaded(path: Path) -> tuple[ObjectSpec, ...]:
    """Read the objects that were uploaded before.

    Args:
        path: The state folder.

    Returns:
        The objects.

    Raises:
        ObjectsFileError: The list cannot be used.
    """
    folder = StateFolder(path)
    return folder.confined(ObjectsStore(folder.objects_file, saves=True).read())
