"""Onboarding of uploaded objects in the background; what a server that ended left undone, another one takes up."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import queue
import shutil
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from ism_ros.cad.colors import parse_colour
from ism_ros.objects.spec import ObjectSpec
from ism_ros.server.errors import RequestError, WorkerDiedError
from ism_ros.server.inference.request_queue import Engine
from ism_ros.server.objects.object_store import StoredObjects

MAX_WAITING_JOBS = 32
FINISHED_JOBS_KEPT = 200
WATCH_PERIOD_S = 1.0
ABANDONED_LOOKS = 10
ABANDONED_S = 30.0
"""A job whose server has not shown up for so long is anybody's."""
UNUSED_S = 3600.0
"""An upload without a job may still be on its way for so long."""

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


class Owner(BaseModel, frozen=True):
    """The server that does a job. token: another one each time it starts."""

    host: str
    pid: int
    token: str

    def is_gone(self, me: Owner) -> bool:
        """Whether a server of this machine that is not me has certainly ended."""
        if self.host != me.host or self.token == me.token:
            return False
        if self.pid == me.pid:
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False


class StoredJob(BaseModel):
    """A job as it is on the disk, with what is needed to do it again. Paths are relative to its upload."""

    job: Job
    owner: Owner
    category_id: int
    units: str
    color: str | None = None
    cad: str | None
    templates: str | None


class JobStoppedError(Exception):
    """The object is not wanted any more."""


class ObjectJobs:
    """One job at a time, on a thread of its own, in the order of the uploads.

    objects: where they are kept; `start` goes on with what a former server left.
    """

    def __init__(self, objects: StoredObjects) -> None:
        self._objects = objects
        self._folder = objects.folder
        self._engine: Engine | None = None
        self._me = Owner(host=socket.gethostname(), pid=os.getpid(), token=os.urandom(8).hex())
        self._jobs: dict[str, StoredJob] = {}
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lock = threading.RLock()
        self._removing = threading.RLock()  # what leaves the list is known to the engine for a moment longer
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=run, name="ism_objects", daemon=True) for run in (self._run, self._watch)
        ]

    @property
    def objects(self) -> dict[str, ObjectSpec]:
        """Those that were uploaded and are known, by id."""
        return self._objects.specs

    def jobs(self) -> list[Job]:
        """All that are remembered, those of other servers of the same folder included, the latest first."""
        with self._lock:
            own = {name: stored.job for name, stored in self._jobs.items()}
        others = {stored.job.id: stored.job for stored in self._on_disk() if stored.job.id not in own}
        return sorted([*own.values(), *others.values()], key=lambda job: job.created_s, reverse=True)

    def job(self, job_id: str) -> Job:
        """Raises RequestError 404."""
        stored = self._jobs.get(job_id)
        if stored is None:
            stored = next((other for other in self._on_disk() if other.job.id == job_id), None)
        if stored is None:
            raise RequestError(404, f"job '{job_id}' is not known")
        return stored.job

    def start(self, engine: Engine) -> None:
        """Goes on with the jobs that are not finished, in their order."""
        self._engine = engine
        self._forget_old()
        self._take_up_abandoned()
        for thread in self._threads:
            thread.start()

    def add(
        self,
        object_id: str,
        category_id: int | None,
        units: str,
        write: Callable[[Path], Upload],
        color: str | None = None,
    ) -> Job:
        """Keeps the files that `write` puts into the folder it is given, and queues the job.

        Raises RequestError: 409 for an id or category of the server's own objects, 429 when too many jobs wait, and
        whatever `write` raises; nothing is left of it then.
        """
        job = Job(id=os.urandom(8).hex(), object_id=object_id, created_s=time.time())
        self._check_id(object_id)
        folder = self._folder.upload(job.id)
        try:
            folder.mkdir(parents=True)
            upload = write(folder)
            with self._lock:
                if sum(stored.job.state not in FINISHED for stored in self._jobs.values()) >= MAX_WAITING_JOBS:
                    raise RequestError(429, f"{MAX_WAITING_JOBS} objects wait already: try again later", 10)
                number = self._free_category(object_id, category_id)
                stored = StoredJob(
                    job=job,
                    owner=self._me,
                    category_id=number,
                    units=units,
                    color=color,
                    cad=upload.cad,
                    templates=upload.templates,
                )
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
        with self._removing:
            if self._objects.remove(object_id):
                self._engine.remove_object(object_id)
                return f"removed '{object_id}'"
        if stopped:
            return f"stopped adding '{object_id}'"
        self._check_id(object_id)
        known_ids = ", ".join(self._objects.specs) or "none"
        raise RequestError(404, f"object '{object_id}' is not known; uploaded ones: {known_ids}")

    def stop(self) -> None:
        """Begins nothing more; the job at hand is done again by the next server."""
        self._end.set()
        self._queue.put(None)

    def _run(self) -> None:
        assert self._engine is not None
        self._wait_for(self._engine)
        while (job_id := self._queue.get()) is not None and not self._end.is_set():
            stored = self._jobs.get(job_id)
            if stored is not None and stored.job.state == "waiting":
                self._wait_for(self._engine)
                if self._end.is_set():
                    return
                self._do(stored, self._engine)
                self._forget_old()

    def _watch(self) -> None:
        """Shows that this server lives, and follows what others do."""
        assert self._engine is not None
        self._wait_for(self._engine)
        for look in itertools.count():
            if self._end.wait(WATCH_PERIOD_S):
                return
            with self._lock:
                mine = [stored.job.id for stored in self._jobs.values() if stored.job.state not in FINISHED]
            for job_id in mine:
                with contextlib.suppress(OSError):
                    os.utime(self._folder.job_file(job_id))
            if self._engine.state == "ready":
                self._objects.follow(self._engine)
            if look % ABANDONED_LOOKS == 0:
                self._take_up_abandoned()

    def _wait_for(self, engine: Engine) -> None:
        """Until its models are ready, which may be a while where something has to be mended, or the server ends."""
        while engine.state != "ready" and not self._end.wait(WATCH_PERIOD_S / 10):
            pass

    def _take_up_abandoned(self) -> None:
        for stored in sorted(self._on_disk(), key=lambda stored: stored.job.created_s):
            if stored.job.id in self._jobs or stored.job.state in FINISHED or not self._is_abandoned(stored):
                continue
            stored.job.state, stored.job.done, stored.job.message = "waiting", 0, "taken up again after a restart"
            stored.owner = self._me
            with self._lock:
                self._jobs[stored.job.id] = stored
                self._write_job(stored)
            self._queue.put(stored.job.id)

    def _is_abandoned(self, stored: StoredJob) -> bool:
        if stored.owner.is_gone(self._me):
            return True
        try:
            return time.time() - self._folder.job_file(stored.job.id).stat().st_mtime > ABANDONED_S
        except OSError:
            return False

    def _on_disk(self) -> list[StoredJob]:
        found = (_read_job(file) for file in self._folder.jobs.glob("*.json"))
        return [stored for stored in found if stored is not None]

    def _do(self, stored: StoredJob, engine: Engine) -> None:
        job = stored.job
        spec = self._spec(stored)

        def progress(done: int, total: int) -> None:
            if job.state != "running" or self._end.is_set():
                raise JobStoppedError
            job.done, job.total = done, total

        job.state, job.message = "running", ""
        try:
            engine.check_ready()
            templates = engine.add_object(spec, progress)
            self._keep(stored, spec)
        except JobStoppedError:
            if self._end.is_set():
                return  # its file still says that it is to be done
            job.state, job.message = "stopped", "it was removed meanwhile"
        except (RequestError, ValueError, OSError) as error:
            job.state, job.message = "failed", _without_paths(str(error), self._folder.upload(job.id))
        except WorkerDiedError as error:
            if self._end.is_set():
                return
            job.state, job.message = "failed", f"{error}: upload it again, with fewer triangles if that recurs"
        else:
            job.done = job.total = templates
            job.message = f"'{spec.id}' with {templates} templates"
            job.state = "done"
        logger.info("object '%s' %s: %s", spec.id, job.state, job.message)
        if job.state != "done":
            shutil.rmtree(self._folder.upload(job.id), ignore_errors=True)
        self._write_job(stored)

    def _keep(self, stored: StoredJob, spec: ObjectSpec) -> None:
        """Writes the object down. Raises JobStoppedError where it is not wanted any more, RequestError 507."""
        assert self._engine is not None
        with self._lock:
            wanted = stored.job.state == "running"
            try:
                if wanted:
                    self._objects.put(spec)
                    return
            except RequestError:
                self._engine.remove_object(spec.id)
                raise
        self._engine.remove_object(spec.id)
        raise JobStoppedError

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
                    shutil.rmtree(self._folder.upload(stored.job.id), ignore_errors=True)
                self._write_job(stored)
        return bool(mine)  # the one that is running notices it with the next template

    def _check_id(self, object_id: str) -> None:
        assert self._engine is not None
        with self._removing:
            own = {known.id for known in self._engine.objects} - set(self._objects.specs)
        if object_id in own:
            raise RequestError(409, f"object '{object_id}' comes from the server's objects file: change it there")

    def _free_category(self, object_id: str, wanted: int | None) -> int:
        """The category of an object, its own again where it is replaced. Raises RequestError 409."""
        assert self._engine is not None
        taken = {known.category_id: known.id for known in self._engine.objects}
        taken |= {spec.category_id: spec.id for spec in self._objects.specs.values()}
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
        folder = self._folder.upload(stored.job.id)
        cad, templates = (folder / name if name else None for name in (stored.cad, stored.templates))
        color = None if stored.color is None or cad is None else parse_colour(stored.color)
        return ObjectSpec(stored.job.object_id, cad, stored.units, templates, stored.category_id, color, root=folder)

    def _write_job(self, stored: StoredJob) -> None:
        """Whole or not at all; a full disk is no reason to stop."""
        file = self._folder.job_file(stored.job.id)
        unfinished = file.with_suffix(".new")
        try:
            unfinished.write_text(stored.model_dump_json(indent=1) + "\n", encoding="utf-8")
            os.replace(unfinished, file)
        except OSError as error:
            logger.warning("%s cannot be written: %s", file, error.strerror)

    def _forget_old(self) -> None:
        """Removes the oldest of the finished jobs, and uploads that belong to nothing."""
        jobs = self.jobs()
        for job in [job for job in jobs if job.state in FINISHED][FINISHED_JOBS_KEPT:]:
            with self._lock:
                self._jobs.pop(job.id, None)
            self._folder.job_file(job.id).unlink(missing_ok=True)
        # in this order, as a job is done only after its object is among the others
        used: set[Path | None] = {self._folder.upload(job.id) for job in jobs if job.state not in FINISHED}
        used |= {self._folder.upload_of(spec) for spec in self._objects.specs.values()}
        for folder in self._folder.uploads.iterdir():
            if folder not in used and time.time() - folder.stat().st_mtime > UNUSED_S:
                shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Upload:
    """Names in the folder of an upload, or None."""

    cad: str | None
    templates: str | None


def _read_job(file: Path) -> StoredJob | None:
    try:
        return StoredJob.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError) as error:
        logger.warning("%s is no job and is left out: %s", file, str(error).splitlines()[0])
        return None


def _without_paths(text: str, folder: Path) -> str:
    """Names of files as the client sent them, not where this server keeps them."""
    return text.replace(f"{folder}{os.sep}", "")
