"""Uploaded objects: kept with their files, onboarded in the background, taken up again after a restart.

STATE_DIR/objects.yaml         the objects that are known, as of any objects file
STATE_DIR/uploads/<job>/       the files of one upload: a CAD file, or templates/, or both
STATE_DIR/jobs/<job>.json      what became of it
"""

from __future__ import annotations

import json
import logging
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from ism_ros.ism import InstanceSegmentationModel
from ism_ros.objects.objects_file import ObjectsFileError, ObjectSpec
from ism_ros.objects.objects_store import ObjectsStore
from ism_ros.objects.preparation_process import PreparationProcess, PreparationStoppedError
from ism_ros.server.engine import Engine
from ism_ros.server.errors import RequestError

MAX_WAITING_JOBS = 32
FINISHED_JOBS_KEPT = 200

State = Literal["waiting", "running", "done", "failed", "stopped"]
FINISHED: tuple[State, ...] = ("done", "failed", "stopped")

logger = logging.getLogger(__name__)


class Job(BaseModel):
    """Onboarding of one object. done, total: views rendered; total is 0 until it is known. created_s: Unix time."""

    id: str
    object_id: str
    state: State = "waiting"
    done: int = 0
    total: int = 0
    message: str = ""
    created_s: float


class StoredJob(BaseModel):
    """A job as it is on the disk, with what is needed to do it again. Paths are relative to its upload."""

    job: Job
    category_id: int
    units: str
    cad: str | None
    templates: str | None


class JobStoppedError(Exception):
    """The object is not wanted any more."""


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


class ObjectJobs:
    """One job at a time, on a thread of its own, in the order of the uploads.

    `load` is for the engine, when it has a model; `start` goes on with what a former server left. prepare: the one of
    the engine's models.
    """

    def __init__(self, folder: StateFolder, prepare: PreparationProcess) -> None:
        self.folder = folder
        self._prepare = prepare
        self._engine: Engine | None = None
        self._store = ObjectsStore(folder.objects_file, saves=True)
        self._specs: dict[str, ObjectSpec] = {}
        self._jobs: dict[str, StoredJob] = {}
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lock = threading.RLock()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="ism_objects", daemon=True)

    @property
    def specs(self) -> dict[str, ObjectSpec]:
        """The objects that were uploaded and are known, by id."""
        return dict(self._specs)

    def jobs(self) -> list[Job]:
        """All that are remembered, the latest first."""
        with self._lock:
            found = [stored.job for stored in self._jobs.values()]
        return sorted(found, key=lambda job: job.created_s, reverse=True)

    def job(self, job_id: str) -> Job:
        """Raises RequestError 404."""
        stored = self._jobs.get(job_id)
        if stored is None:
            raise RequestError(404, f"job '{job_id}' is not known")
        return stored.job

    def read(self) -> None:
        """What the folder holds; to be called before anything else. Raises ObjectsFileError or OSError."""
        for folder in (self.folder.uploads, self.folder.jobs):
            folder.mkdir(parents=True, exist_ok=True)
        self._specs = {spec.id: spec for spec in self._store.read()}
        self._jobs = {stored.job.id: stored for stored in map(_read_job, self.folder.jobs.glob("*.json")) if stored}
        self._forget_old()
        self._remove_unused_uploads()

    def load(self, model: InstanceSegmentationModel) -> None:
        """Onboards what was uploaded before; one that cannot be is told in the log and does not hinder the others."""
        for spec in self._specs.values():
            try:
                if spec.id in model.library.ids:
                    raise ValueError("the objects file has one of the same id")
                model.put(model.onboard(spec))
            except (ValueError, OSError) as error:
                logger.error("uploaded object '%s' cannot be used: %s; delete it or upload it again", spec.id, error)

    def start(self, engine: Engine) -> None:
        """Goes on with the jobs that are not finished, in their order."""
        self._engine = engine
        for job in reversed(self.jobs()):
            if job.state not in FINISHED:
                job.state, job.done, job.message = "waiting", 0, "taken up again after a restart"
                self._queue.put(job.id)
        self._thread.start()

    def add(self, object_id: str, category_id: int | None, units: str, write: Callable[[Path], Upload]) -> Job:
        """Keeps the files that `write` puts into the folder it is given, and queues the job.

        Raises RequestError: 409 for an id or category of the server's own objects, 429 when too many jobs wait, and
        whatever `write` raises; nothing is left of it then.
        """
        job = Job(id=os.urandom(8).hex(), object_id=object_id, created_s=time.time())
        self._check_id(object_id)
        folder = self.folder.upload(job.id)
        try:
            folder.mkdir(parents=True)
            upload = write(folder)
            with self._lock:
                if sum(stored.job.state not in FINISHED for stored in self._jobs.values()) >= MAX_WAITING_JOBS:
                    raise RequestError(429, f"{MAX_WAITING_JOBS} objects wait already: try again later", 10)
                number = self._free_category(object_id, category_id)
                stored = StoredJob(job=job, category_id=number, units=units, cad=upload.cad, templates=upload.templates)
                self._write_job(stored)
                self._jobs[job.id] = stored
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise RequestError(507, f"the upload cannot be kept: {error.strerror or error}") from None
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._queue.put(job.id)
        return job

    def remove(self, object_id: str) -> str:
        """Forgets an object, what is being onboarded under its id included; what was done, in words.

        Raises RequestError 404 where it is not known, 409 where it is the objects file's.
        """
        assert self._engine is not None
        stopped = self._stop_jobs_of(object_id)
        with self._lock:
            if object_id in self._specs:
                self._store.change(object_id, None)
                self._save()
                upload = self._upload_of(self._specs.pop(object_id))
                if object_id in {known.id for known in self._engine.objects}:
                    self._engine.remove_object(object_id)
                shutil.rmtree(upload, ignore_errors=True)
                return f"removed '{object_id}'"
        if stopped:
            return f"stopped adding '{object_id}'"
        self._check_id(object_id)
        known_ids = ", ".join(self._specs) or "none"
        raise RequestError(404, f"object '{object_id}' is not known; uploaded ones: {known_ids}")

    def stop(self) -> None:
        """Ends at once; the job at hand is done again by the next server."""
        self._ending = True
        self._queue.put(None)
        self._prepare.stop()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _run(self) -> None:
        assert self._engine is not None
        self._engine.loaded.wait()
        while (job_id := self._queue.get()) is not None and not self._ending:
            stored = self._jobs.get(job_id)
            if stored is not None and stored.job.state == "waiting":
                self._do(stored, self._engine)

    def _do(self, stored: StoredJob, engine: Engine) -> None:
        job = stored.job
        spec = self._spec(stored)

        def progress(done: int, total: int) -> None:
            if job.state != "running" or self._ending:
                raise JobStoppedError
            job.done, job.total = done, total

        job.state, job.message = "running", ""
        try:
            engine.check_ready()
            templates = engine.add_object(spec, progress).template_count
            self._keep(stored, spec)
        except (JobStoppedError, PreparationStoppedError):
            if self._ending:
                return  # its file still says that it is to be done
            job.state, job.message = "stopped", "it was removed meanwhile"
        except (RequestError, ValueError, OSError) as error:
            job.state, job.message = "failed", _without_paths(str(error), self.folder.upload(job.id))
        except Exception as error:  # a model can fail in more ways than can be listed; the server must live on
            logger.exception("object '%s' could not be onboarded", spec.id)
            job.state, job.message = "failed", f"{type(error).__name__}: {error}"
        else:
            job.done = job.total = templates
            job.message = f"'{spec.id}' with {templates} templates"
            job.state = "done"
        logger.info("object '%s' %s: %s", spec.id, job.state, job.message)
        if job.state != "done":
            shutil.rmtree(self.folder.upload(job.id), ignore_errors=True)
        self._write_job(stored)

    def _keep(self, stored: StoredJob, spec: ObjectSpec) -> None:
        """Writes the object down, in the place of the one that had its id. Raises JobStoppedError, or OSError."""
        assert self._engine is not None
        with self._lock:
            wanted = stored.job.state == "running"
            if wanted:
                self._store.change(spec.id, spec)
                try:
                    self._save()
                except (OSError, RequestError):
                    self._engine.remove_object(spec.id)
                    raise
                before = self._specs.get(spec.id)
                self._specs[spec.id] = spec
                if before is not None:
                    shutil.rmtree(self._upload_of(before), ignore_errors=True)
        if not wanted:
            self._engine.remove_object(spec.id)
            raise JobStoppedError

    def _save(self) -> None:
        try:
            self._store.save()
        except (ObjectsFileError, OSError) as error:
            self._store.read()  # what could not be saved is not tried again
            raise RequestError(507, f"{self.folder.objects_file.name} cannot be written: {error}") from None

    def _stop_jobs_of(self, object_id: str) -> bool:
        with self._lock:
            mine = [
                stored
                for stored in self._jobs.values()
                if stored.job.object_id == object_id and stored.job.state not in FINISHED
            ]
            for stored in mine:
                waited = stored.job.state == "waiting"
                stored.job.state, stored.job.message = "stopped", "it was removed meanwhile"
                if waited:
                    shutil.rmtree(self.folder.upload(stored.job.id), ignore_errors=True)
                self._write_job(stored)
        return bool(mine)  # the one that is running notices it with the next template

    def _check_id(self, object_id: str) -> None:
        own = {known.id for known in self._engine.objects} - set(self._specs) if self._engine is not None else set()
        if object_id in own:
            raise RequestError(409, f"object '{object_id}' comes from the server's objects file: change it there")

    def _free_category(self, object_id: str, wanted: int | None) -> int:
        """The category of an object, its own again where it is replaced. Raises RequestError 409."""
        assert self._engine is not None
        taken = {known.category_id: known.id for known in self._engine.objects}
        taken |= {spec.category_id: spec.id for spec in self._specs.values()}
        for stored in self._jobs.values():
            if stored.job.state not in FINISHED:
                taken.setdefault(stored.category_id, stored.job.object_id)
        own = next((number for number, name in taken.items() if name == object_id), None)
        number = wanted or own or max(taken, default=0) + 1
        owner = taken.get(number, object_id)
        if owner != object_id:
            raise RequestError(409, f"category_id {number} is already that of '{owner}': choose another, or none")
        return number

    def _spec(self, stored: StoredJob) -> ObjectSpec:
        folder = self.folder.upload(stored.job.id)
        cad, templates = (folder / name if name else None for name in (stored.cad, stored.templates))
        return ObjectSpec(stored.job.object_id, cad, stored.units, templates, stored.category_id)

    def _upload_of(self, spec: ObjectSpec) -> Path:
        path = spec.cad or spec.templates
        assert path is not None
        return self.folder.uploads / path.relative_to(self.folder.uploads).parts[0]

    def _write_job(self, stored: StoredJob) -> None:
        """Whole or not at all; a full disk is no reason to stop."""
        file = self.folder.job_file(stored.job.id)
        unfinished = file.with_suffix(".new")
        try:
            unfinished.write_text(stored.model_dump_json(indent=1) + "\n", encoding="utf-8")
            os.replace(unfinished, file)
        except OSError as error:
            logger.warning("%s cannot be written: %s", file, error.strerror)

    def _forget_old(self) -> None:
        finished = [job for job in self.jobs() if job.state in FINISHED]
        for job in finished[FINISHED_JOBS_KEPT:]:
            del self._jobs[job.id]
            self.folder.job_file(job.id).unlink(missing_ok=True)

    def _remove_unused_uploads(self) -> None:
        used = {self._upload_of(spec) for spec in self._specs.values() if self._is_here(spec)}
        used |= {self.folder.upload(job.id) for job in self.jobs() if job.state not in FINISHED}
        for folder in self.folder.uploads.iterdir():
            if folder not in used:
                shutil.rmtree(folder, ignore_errors=True)

    def _is_here(self, spec: ObjectSpec) -> bool:
        path = spec.cad or spec.templates
        return path is not None and path.is_relative_to(self.folder.uploads)


@dataclass(frozen=True)
class Upload:
    """Names in the folder of an upload, or None."""

    cad: str | None
    templates: str | None


def _read_job(file: Path) -> StoredJob | None:
    try:
        return StoredJob.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        logger.warning("%s is no job and is left out: %s", file, str(error).splitlines()[0])
        return None


def _without_paths(text: str, folder: Path) -> str:
    """Names of files as the client sent them, not where this server keeps them."""
    return text.replace(f"{folder}{os.sep}", "")
