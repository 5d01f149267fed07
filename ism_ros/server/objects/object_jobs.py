"""Onboarding of uploaded objects in the background; jobs that an ended server left are taken up by another one."""

from __future__ import annotations

import itertools
import logging
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ism_ros.objects.spec import CategoryIdTakenError, ObjectSpec, choose_category_id
from ism_ros.server.errors import BackendDiedError, RequestError
from ism_ros.server.objects.job_records import Job, JobFiles, JobOwner, JobRecord
from ism_ros.server.objects.object_info import ObjectHost
from ism_ros.server.objects.object_store import UploadedObjects
from ism_ros.server.requests.object_uploads import UploadedFiles

MAX_WAITING_JOBS = 32
"""Jobs of this server that are not finished, at most."""
FINISHED_JOBS_KEPT = 200
"""Finished jobs that are remembered."""
WATCH_PERIOD_S = 1.0
"""Seconds between two looks at what other servers did."""
ABANDONED_PERIODS = 10
"""Looks between two searches for abandoned jobs."""
UNUSED_S = 3600.0
"""Age of an upload without a job, seconds, from which on it is removed; a younger one may still be on its way."""

logger = logging.getLogger(__name__)


class JobStoppedError(Exception):
    """The object of a job is not wanted any more."""


class ObjectJobs:
    """Runs one job at a time, on a thread of its own, in the order of the uploads."""

    def __init__(self, uploaded: UploadedObjects, host: ObjectHost) -> None:
        """Initialize; `start` begins.

        Args:
            uploaded: Where the objects are kept.
            host: What onboards them.
        """
        self._uploaded = uploaded
        self._host = host
        self._folder = uploaded.folder
        self._files = JobFiles(uploaded.folder)
        self._owner = JobOwner.this_process()
        self._jobs: dict[str, JobRecord] = {}
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lock = threading.RLock()
        self._removing = threading.RLock()  # what leaves the list is known to the host for a moment longer
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=run, name="ism_objects", daemon=True) for run in (self._run, self._watch)
        ]

    @property
    def objects(self) -> dict[str, ObjectSpec]:
        """The uploaded objects that are known, by id."""
        return self._uploaded.specs

    def jobs(self) -> list[Job]:
        """Return all jobs that are remembered, those of other servers of the same folder included, the latest first."""
        with self._lock:
            own = {name: record.job for name, record in self._jobs.items()}
        others = {record.job.id: record.job for record in self._files.read_all() if record.job.id not in own}
        return sorted([*own.values(), *others.values()], key=lambda job: job.created_s, reverse=True)

    def job(self, job_id: str) -> Job:
        """Return one job.

        Args:
            job_id: Its id.

        Raises:
            RequestError: 404 where it is not known.
        """
        record = self._jobs.get(job_id)
        if record is None:
            record = next((other for other in self._files.read_all() if other.job.id == job_id), None)
        if record is None:
            raise RequestError(404, f"job '{job_id}' is not known")
        return record.job

    def start(self) -> None:
        """Go on with the jobs that are not finished, in their order."""
        self._forget_old()
        self._take_up_abandoned()
        for thread in self._threads:
            thread.start()

    def add(
        self,
        object_id: str,
        category_id: int | None,
        units: str,
        write: Callable[[Path], UploadedFiles],
        color: str | None = None,
    ) -> Job:
        """Keep the files of an upload and queue a job that onboards them.

        Args:
            object_id: Id of the object.
            category_id: Its number in COCO output, or None = a free one.
            units: Units of the CAD file.
            write: Puts the files into the folder that it is given.
            color: The one color of the CAD model, or None.

        Returns:
            The job.

        Raises:
            RequestError: 409 for an id or category of the server's own objects, 429 when too many jobs wait, 507 for
                a full disk, and whatever `write` raises; nothing is left of the upload then.
        """
        job = Job(id=os.urandom(8).hex(), object_id=object_id, created_s=time.time())
        self._check_id(object_id)
        folder = self._folder.upload(job.id)
        try:
            folder.mkdir(parents=True)
            upload = write(folder)
            with self._lock:
                if sum(not record.job.is_finished for record in self._jobs.values()) >= MAX_WAITING_JOBS:
                    raise RequestError(429, f"{MAX_WAITING_JOBS} objects wait already: try again later", 10)
                number = self._free_category(object_id, category_id)
                record = JobRecord(
                    job=job,
                    owner=self._owner,
                    category_id=number,
                    units=units,
                    color=color,
                    cad=upload.cad,
                    templates=upload.templates,
                )
                self._files.write(record)
                self._jobs[job.id] = record
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise RequestError(507, f"the upload cannot be kept: {error.strerror or error}") from None
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._queue.put(job.id)
        return job

    def remove(self, object_id: str) -> str:
        """Remove an object, and stop jobs that onboard one under its id.

        Args:
            object_id: Its id.

        Returns:
            What was done, in words.

        Raises:
            RequestError: 404 where it is not known, 409 where it is the objects file's.
        """
        stopped = self._stop_jobs_of(object_id)
        with self._removing:
            if self._uploaded.remove(object_id):
                self._host.remove_object(object_id)
                return f"removed '{object_id}'"
        if stopped:
            return f"stopped adding '{object_id}'"
        self._check_id(object_id)
        known_ids = ", ".join(self._uploaded.specs) or "none"
        raise RequestError(404, f"object '{object_id}' is not known; uploaded ones: {known_ids}")

    def stop(self) -> None:
        """Begin nothing more; the job that runs is run again by the next server."""
        self._stopping.set()
        self._queue.put(None)

    def _run(self) -> None:
        self._wait_until_ready()
        while (job_id := self._queue.get()) is not None and not self._stopping.is_set():
            record = self._jobs.get(job_id)
            if record is not None and record.job.state == "waiting":
                self._wait_until_ready()
                if self._stopping.is_set():
                    return
                self._onboard(record)
                self._forget_old()

    def _watch(self) -> None:
        """Show that this server lives, and follow what others do."""
        self._wait_until_ready()
        for period in itertools.count():
            if self._stopping.wait(WATCH_PERIOD_S):
                return
            with self._lock:
                unfinished = [record.job.id for record in self._jobs.values() if not record.job.is_finished]
            for job_id in unfinished:
                self._files.touch(job_id)
            if self._host.state == "ready":
                self._uploaded.follow(self._host)
            if period % ABANDONED_PERIODS == 0:
                self._take_up_abandoned()

    def _wait_until_ready(self) -> None:
        """Wait until models are ready, which may be a while where something has to be mended, or the server ends."""
        while self._host.state != "ready" and not self._stopping.wait(WATCH_PERIOD_S / 10):
            pass

    def _take_up_abandoned(self) -> None:
        for record in sorted(self._files.read_all(), key=lambda record: record.job.created_s):
            if (
                record.job.id in self._jobs
                or record.job.is_finished
                or not self._files.is_abandoned(record, self._owner)
            ):
                continue
            record.job.state, record.job.done, record.job.message = "waiting", 0, "taken up again after a restart"
            record.owner = self._owner
            with self._lock:
                self._jobs[record.job.id] = record
                self._files.write(record)
            self._queue.put(record.job.id)

    def _onboard(self, record: JobRecord) -> None:
        job = record.job
        spec = record.spec(self._folder)

        def progress(done: int, total: int) -> None:
            if job.state != "running" or self._stopping.is_set():
                raise JobStoppedError
            job.done, job.total = done, total

        job.state, job.message = "running", ""
        try:
            self._host.check_ready()
            templates = self._host.add_object(spec, progress)
            self._keep(record, spec)
        except JobStoppedError:
            if self._stopping.is_set():
                return  # its file still says that it is to be done
            job.state, job.message = "stopped", "it was removed meanwhile"
        except (RequestError, ValueError, OSError) as error:
            job.state, job.message = "failed", _without_folder(str(error), self._folder.upload(job.id))
        except BackendDiedError as error:
            if self._stopping.is_set():
                return
            job.state, job.message = "failed", f"{error}: upload it again, with fewer triangles if that recurs"
        else:
            job.done = job.total = templates
            job.message = f"'{spec.id}' with {templates} templates"
            job.state = "done"
        logger.info("object '%s' %s: %s", spec.id, job.state, job.message)
        if job.state != "done":
            shutil.rmtree(self._folder.upload(job.id), ignore_errors=True)
        self._files.write(record)

    def _keep(self, record: JobRecord, spec: ObjectSpec) -> None:
        """Write the object down; raise JobStoppedError where it is not wanted any more, RequestError 507."""
        with self._lock:
            wanted = record.job.state == "running"
            try:
                if wanted:
                    self._uploaded.put(spec)
                    return
            except RequestError:
                self._host.remove_object(spec.id)
                raise
        self._host.remove_object(spec.id)
        raise JobStoppedError

    def _stop_jobs_of(self, object_id: str) -> bool:
        with self._lock:
            mine = [
                record
                for record in self._jobs.values()
                if record.job.object_id == object_id and not record.job.is_finished
            ]
            for record in mine:
                waited = record.job.state == "waiting"
                record.job.state, record.job.message = "stopped", "it was removed meanwhile"
                if waited:
                    shutil.rmtree(self._folder.upload(record.job.id), ignore_errors=True)
                self._files.write(record)
        return bool(mine)  # the one that is running notices it with the next template

    def _check_id(self, object_id: str) -> None:
        with self._removing:
            own = {known.id for known in self._host.objects} - set(self._uploaded.specs)
        if object_id in own:
            raise RequestError(409, f"object '{object_id}' comes from the server's objects file: change it there")

    def _free_category(self, object_id: str, wanted: int | None) -> int:
        """Return the category of an object, its own again where it is replaced; raise RequestError 409."""
        taken = {known.category_id: known.id for known in self._host.objects}
        taken |= {spec.category_id: spec.id for spec in self._uploaded.specs.values()}
        for record in self._jobs.values():
            if not record.job.is_finished:
                taken.setdefault(record.category_id, record.job.object_id)
        try:
            return choose_category_id(object_id, wanted, taken)
        except CategoryIdTakenError as error:
            raise RequestError(409, f"{error}: choose another, or none") from None

    def _forget_old(self) -> None:
        """Remove the oldest of the finished jobs, and uploads that belong to nothing."""
        jobs = self.jobs()
        for job in [job for job in jobs if job.is_finished][FINISHED_JOBS_KEPT:]:
            with self._lock:
                self._jobs.pop(job.id, None)
            self._files.remove(job.id)
        # in this order, as a job is done only after its object is among the others
        used: set[Path | None] = {self._folder.upload(job.id) for job in jobs if not job.is_finished}
        used |= {self._folder.upload_of(spec) for spec in self._uploaded.specs.values()}
        for folder in self._folder.uploads.iterdir():
            if folder not in used and time.time() - folder.stat().st_mtime > UNUSED_S:
                shutil.rmtree(folder, ignore_errors=True)


def _without_folder(text: str, folder: Path) -> str:
    """Name files as the client sent them, not where this server keeps them."""
    return text.replace(f"{folder}{os.sep}", "")
