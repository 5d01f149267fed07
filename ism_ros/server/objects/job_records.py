"""Onboarding jobs and their files, which outlive the server."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from ism_ros.cad.colors import parse_color
from ism_ros.errors import first_line
from ism_ros.objects.spec import ObjectSpec
from ism_ros.runtime.atomic_files import write_atomically
from ism_ros.server.objects.state_folder import StateFolder

ABANDONED_S = 30.0
"""Age of a job's file, seconds, from which on any server may take the job up."""

JobState = Literal["waiting", "running", "done", "failed", "stopped"]
"""States of a job."""
FINISHED: tuple[JobState, ...] = ("done", "failed", "stopped")
"""States in which nothing more happens to a job."""

logger = logging.getLogger(__name__)


class Job(BaseModel):
    """Onboarding of one object."""

    id: str
    object_id: str
    state: JobState = "waiting"
    done: int = Field(default=0, description="Templates rendered.")
    total: int = Field(default=0, description="Templates to render; 0 until it is known.")
    message: str = ""
    created_s: float = Field(description="Unix time.")

    @property
    def is_finished(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in FINISHED


class JobOwner(BaseModel, frozen=True):
    """The server that runs a job.

    Attributes:
        host: Name of its machine.
        pid: Its process.
        token: A random text, another one each time it starts.
    """

    host: str
    pid: int
    token: str

    @classmethod
    def this_process(cls) -> JobOwner:
        """Make the owner that stands for this server."""
        return cls(host=socket.gethostname(), pid=os.getpid(), token=os.urandom(8).hex())

    def has_ended(self, this: JobOwner) -> bool:
        """Return whether it is another server of this machine that has certainly ended.

        Args:
            this: The server that asks.
        """
        if self.host != this.host or self.token == this.token:
            return False
        if self.pid == this.pid:
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False


class JobRecord(BaseModel):
    """A job as it is on the disk, with what is needed to run it again.

    Attributes:
        job: What clients see of it.
        owner: The server that runs it.
        category_id: Number of the object in COCO output.
        units: Units of the CAD file.
        color: The one color of the CAD model, or None.
        cad: Path of the CAD file in the folder of the upload, or None.
        templates: Path of the template folder in the folder of the upload, or None.
    """

    job: Job
    owner: JobOwner
    category_id: int
    units: str
    color: str | None = None
    cad: str | None
    templates: str | None

    def spec(self, folder: StateFolder) -> ObjectSpec:
        """Return the object that the job onboards, which sees only the files of its own upload.

        Args:
            folder: Where uploads are kept.
        """
        upload = folder.upload(self.job.id)
        cad, templates = (upload / name if name else None for name in (self.cad, self.templates))
        color = None if self.color is None or cad is None else parse_color(self.color)
        return ObjectSpec(self.job.object_id, cad, self.units, templates, self.category_id, color, root=upload)


class JobFiles:
    """The files of jobs in a state folder, which several servers may share."""

    def __init__(self, folder: StateFolder) -> None:
        """Initialize.

        Args:
            folder: The state folder.
        """
        self._folder = folder

    def read_all(self) -> list[JobRecord]:
        """Read the jobs of all servers; what is no job is logged and left out."""
        found = []
        for file in self._folder.jobs.glob("*.json"):
            try:
                found.append(JobRecord.model_validate_json(file.read_text(encoding="utf-8")))
            except (OSError, ValueError, ValidationError) as error:
                logger.warning("%s is no job and is left out: %s", file, first_line(error))
        return found

    def write(self, record: JobRecord) -> None:
        """Write a job whole or not at all; a full disk is logged and no reason to stop.

        Args:
            record: The job.
        """
        file = self._folder.job_file(record.job.id)
        try:
            write_atomically(file, record.model_dump_json(indent=1) + "\n")
        except OSError as error:
            logger.warning("%s cannot be written: %s", file, error.strerror)

    def touch(self, job_id: str) -> None:
        """Show that the server of a job lives.

        Args:
            job_id: Id of the job.
        """
        with contextlib.suppress(OSError):
            os.utime(self._folder.job_file(job_id))

    def remove(self, job_id: str) -> None:
        """Remove the file of a job.

        Args:
            job_id: Id of the job.
        """
        self._folder.job_file(job_id).unlink(missing_ok=True)

    def is_abandoned(self, record: JobRecord, this: JobOwner) -> bool:
        """Return whether the server of a job has ended, or has not shown that it lives for `ABANDONED_S`.

        Args:
            record: The job.
            this: The server that asks.
        """
        if record.owner.has_ended(this):
            return True
        try:
            return time.time() - self._folder.job_file(record.job.id).stat().st_mtime > ABANDONED_S
        except OSError:
            return False
