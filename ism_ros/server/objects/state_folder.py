"""The folder of what is kept beyond the end of a server, which several servers may share.

STATE_DIR/objects.yaml         the uploaded objects that are known, as of any objects file
STATE_DIR/uploads/<job>/       the files of one upload: a CAD file, or templates/, or both
STATE_DIR/jobs/<job>.json      the job that onboards it
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ism_ros.objects.spec import ObjectSpec


@dataclass(frozen=True)
class StateFolder:
    """Paths in ISM_STATE_DIR.

    Attributes:
        path: The folder itself.
    """

    path: Path

    @property
    def objects_file(self) -> Path:
        """The list of uploaded objects."""
        return self.path / "objects.yaml"

    @property
    def uploads(self) -> Path:
        """The folder of all uploads."""
        return self.path / "uploads"

    @property
    def jobs(self) -> Path:
        """The folder of the jobs' files."""
        return self.path / "jobs"

    def upload(self, job_id: str) -> Path:
        """Return the folder of one upload.

        Args:
            job_id: Id of the job that onboards it.
        """
        return self.uploads / job_id

    def job_file(self, job_id: str) -> Path:
        """Return the file of a job.

        Args:
            job_id: Id of the job.
        """
        return self.jobs / f"{job_id}.json"

    def confined(self, specs: Iterable[ObjectSpec]) -> tuple[ObjectSpec, ...]:
        """Return objects each of which sees only the files of its own upload.

        Args:
            specs: The objects.
        """
        return tuple(replace(spec, root=self.upload_of(spec)) for spec in specs)

    def upload_of(self, spec: ObjectSpec) -> Path | None:
        """Return the folder of the files of an object, or None where they are elsewhere.

        Args:
            spec: The object.
        """
        path = spec.cad or spec.templates
        if path is None or not path.is_relative_to(self.uploads):
            return None
        return self.uploads / path.relative_to(self.uploads).parts[0]

    def make(self) -> None:
        """Make the folders that are not there.

        Raises:
            OSError: One of them cannot be made.
        """
        for folder in (self.uploads, self.jobs):
            folder.mkdir(parents=True, exist_ok=True)
