"""The objects file while the node runs: read once, checked for edits, and changed with the library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ism_ros.config.settings import Settings, SettingsError
from ism_ros.node.event_log import Logger
from ism_ros.objects.spec import ObjectsFileError, ObjectSpec
from ism_ros.objects.stores.objects_file import ObjectsStore

RETRY_CHECKS = 20
"""Number of checks after which what could not be saved is tried again."""


class ObjectsFileSync:
    """Keeps problems with the objects file for /diagnostics; not for two threads at once."""

    def __init__(self, logger: Logger) -> None:
        """Start without a file.

        Args:
            logger: The node's logger.
        """
        self._logger = logger
        self._store: ObjectsStore | None = None
        self._checks = 0
        self._edit_problem = self._save_problem = ""

    @property
    def problems(self) -> tuple[str, ...]:
        """What a person should know about the file, one sentence each."""
        return tuple(text for text in (self._save_problem, self._edit_problem) if text)

    def open(self, settings: Settings) -> Sequence[ObjectSpec]:
        """Read the objects file, if the settings name one.

        Raises:
            ObjectsFileError: The file cannot be used.
            SettingsError: Objects are to be saved, but no file is named.
        """
        if settings.save_objects and not settings.objects_file:
            raise SettingsError("save_objects is on, but objects_file names no file to save them in: set it")
        if not settings.objects_file:
            return ()
        store = ObjectsStore(Path(settings.objects_file).expanduser(), settings.save_objects)
        specs, self._store = store.read(), store
        return specs

    def close(self) -> None:
        """Save for the last time."""
        store, self._store = self._store, None
        if store is not None and store.unsaved:
            self._save(store)
            if store.unsaved:
                self._logger.error(f"changes of {', '.join(store.unsaved)} are lost: {self._save_problem}")
        self._edit_problem = self._save_problem = ""

    def save_change(self, object_id: str, spec: ObjectSpec | None) -> str:
        """Save one change of the library where the user wants that.

        Args:
            object_id: Id of the object.
            spec: What was added, None where it was removed.

        Returns:
            End of a sentence about it, empty if nothing was to be saved.
        """
        if self._store is None or not self._store.saves:
            return ""
        self._store.change(object_id, spec)
        note = self._save(self._store)
        return f"; {note}" if note else f", saved in {self._store.path}"

    def check(self) -> None:
        """Look whether somebody else changed the file, and retry to save what could not be saved."""
        store = self._store
        if store is None:
            return
        self._checks += 1
        if store.unsaved and self._checks % RETRY_CHECKS == 0:
            self._save(store)
        if store.is_edited() and not self._edit_problem:
            self._edit_problem = (
                f"{store.path} was edited or replaced after it was read, which this node does not follow: "
                "deactivate, clean up, configure and activate it to use what is there now"
            )
            self._logger.warning(self._edit_problem)

    def _save(self, store: ObjectsStore) -> str:
        """Save what is not saved yet; return the problem or a note for the user, empty if there is none."""
        try:
            note = store.save()
        except (ObjectsFileError, OSError) as error:
            cause = f"{error.strerror}: {store.path}" if isinstance(error, OSError) and error.strerror else str(error)
            self._save_problem = (
                f"changes of {', '.join(store.unsaved)} are not saved ({cause}): trying again; free space, or mend "
                "what hinders it"
            )
            return self._save_problem
        if self._save_problem:
            self._logger.info(f"changes are saved in {store.path} now")
        self._save_problem = ""
        return note
