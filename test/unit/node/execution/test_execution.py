"""The mailbox and the thread that runs the model."""

import queue
import threading
import time

import pytest

from ism_ros.node.execution.mailbox import Mailbox
from ism_ros.node.execution.worker_thread import WorkerThread

# mailbox


def test_the_mailbox_hands_out_the_newest_item_and_counts_the_others():
    mailbox = Mailbox()
    for item in (1, 2, 3):
        mailbox.put(item)
    assert mailbox.take(timeout_s=1.0) == 3
    assert mailbox.dropped == 2


def test_an_empty_mailbox_gives_nothing_after_the_timeout():
    assert Mailbox().take(timeout_s=0.01) is None


def test_waking_a_mailbox_ends_the_wait_of_its_taker():
    mailbox = Mailbox()
    taken = []
    taker = threading.Thread(target=lambda: taken.append(mailbox.take(timeout_s=30.0)))
    taker.start()
    mailbox.wake()
    taker.join(5.0)
    assert taken == [None]


def test_clearing_the_mailbox_is_not_a_drop():
    mailbox = Mailbox()
    mailbox.put(1)
    mailbox.clear()
    assert mailbox.take(timeout_s=0.01) is None
    assert mailbox.dropped == 0


# worker


@pytest.fixture
def mailbox():
    return Mailbox()


@pytest.fixture
def make_worker(mailbox):
    workers = []

    def make(process, on_error=lambda error: None, min_period_s=0.0):
        workers.append(WorkerThread(mailbox, process, on_error, lambda last: min_period_s - last.since_start_s))
        return workers[-1]

    yield make
    for worker in workers:
        assert worker.stop(5.0)


def test_while_one_item_is_processed_only_the_newest_of_the_others_is_kept(mailbox, make_worker):
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()
    processed = []

    def process(item):
        processed.append(item)
        begun.set()
        go_on.wait(5.0)
        if item == 9:
            done.set()

    make_worker(process)
    mailbox.put(0)
    assert begun.wait(5.0)
    for item in range(1, 10):
        mailbox.put(item)
    go_on.set()
    assert done.wait(5.0)
    assert processed == [0, 9]
    assert mailbox.dropped == 8


def test_a_failing_item_is_reported_and_the_next_one_is_processed(mailbox, make_worker):
    failed, succeeded = threading.Event(), threading.Event()
    errors = []

    def process(item):
        if item == "bad":
            raise RuntimeError("no such luck")
        succeeded.set()

    def on_error(error):
        errors.append(str(error))
        failed.set()

    make_worker(process, on_error)
    mailbox.put("bad")
    assert failed.wait(5.0)
    mailbox.put("good")
    assert succeeded.wait(5.0)
    assert errors == ["no such luck"]


def test_a_job_runs_on_the_workers_thread_and_gives_its_result(make_worker):
    worker = make_worker(lambda item: None)
    assert worker.submit(threading.get_ident).result(5.0) != threading.get_ident()


def test_a_jobs_error_goes_to_the_one_who_submitted_it(make_worker):
    worker = make_worker(lambda item: None)
    with pytest.raises(ZeroDivisionError):
        worker.submit(lambda: 1 / 0).result(5.0)
    assert worker.submit(lambda: "alive").result(5.0) == "alive"


def test_a_job_does_not_wait_for_the_rate_limit(mailbox, make_worker):
    processed = threading.Event()
    worker = make_worker(lambda item: processed.set(), min_period_s=60.0)
    mailbox.put(0)
    assert processed.wait(5.0)
    mailbox.put(1)
    assert worker.submit(lambda: "now").result(5.0) == "now"


def test_no_frame_is_processed_that_is_older_than_the_work_before_it(mailbox, make_worker):
    begun, go_on, last = threading.Event(), threading.Event(), threading.Event()
    processed = []

    def process(item):
        processed.append(item)
        begun.set()
        assert go_on.wait(5.0)
        if item == "new":
            last.set()

    worker = make_worker(process)
    mailbox.put("first")
    assert begun.wait(5.0)
    mailbox.put("before the job began")
    done = worker.submit(lambda: "done")
    go_on.set()
    assert done.result(5.0) == "done"
    mailbox.put("new")
    assert last.wait(5.0)
    assert processed == ["first", "new"]
    assert mailbox.dropped == 1


def test_between_two_jobs_comes_a_frame(mailbox, make_worker):
    begun, go_on = threading.Event(), threading.Event()
    order = []

    def job():
        begun.set()
        return go_on.wait(5.0)

    worker = make_worker(order.append)
    first = worker.submit(job)
    assert begun.wait(5.0)
    mailbox.put("frame")
    second = worker.submit(lambda: order.append("job"))
    go_on.set()
    assert first.result(5.0)
    second.result(5.0)
    assert order == ["frame", "job"]


def test_a_frame_that_the_rate_limit_made_old_is_left_out_for_a_newer_one(make_worker, mailbox):
    processed = queue.SimpleQueue()
    make_worker(lambda item: processed.put((item, time.monotonic())), min_period_s=0.5)
    mailbox.put("first")
    _, began_s = processed.get(timeout=5.0)
    mailbox.put("older than one inference when its turn comes")
    stop = threading.Event()

    def camera():
        while not stop.wait(0.05):
            mailbox.put(time.monotonic())

    threading.Thread(target=camera, daemon=True).start()
    put_s, taken_s = processed.get(timeout=5.0)
    stop.set()
    assert taken_s - began_s >= 0.5
    assert put_s - began_s > 0.4, "what was put in at the beginning of the wait is not processed at its end"


def test_a_worker_says_for_how_long_it_has_been_busy(make_worker):
    begun, go_on = threading.Event(), threading.Event()
    worker = make_worker(lambda item: None)
    assert worker.busy_s == 0.0
    job = worker.submit(lambda: (begun.set(), go_on.wait(5.0)))
    assert begun.wait(5.0)
    assert worker.busy_s > 0.0
    go_on.set()
    job.result(5.0)
    assert worker.submit(lambda: None).result(5.0) is None
