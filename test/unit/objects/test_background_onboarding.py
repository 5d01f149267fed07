"""Objects onboarded in the background: in order, with progress, and given up at any moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from ism_ros.objects.background_onboarding import (
    OnboardingCancelledError,
    OnboardingProgress,
    OnboardingQueue,
    OnboardingTask,
)
from ism_ros.objects.spec import ObjectSpec

WAIT_S = 20.0
MUG, CUP, PLATE = (ObjectSpec(name) for name in ("mug", "cup", "plate"))


class Renderer:
    """Onboards an object in three views, each of which waits until it may be rendered where `stepwise`."""

    def __init__(self, stepwise: bool = False) -> None:
        self.begun: list[str] = []
        self.error: Exception | None = None
        self.started = threading.Event()
        self.is_interrupted = False
        self._steps = threading.Semaphore(0 if stepwise else 1_000)

    def __call__(self, spec: ObjectSpec, progress: Callable[[int, int], None]) -> str:
        self.begun.append(spec.id)
        self.started.set()
        for view in (1, 2, 3):
            assert self._steps.acquire(timeout=WAIT_S)
            if self.is_interrupted:
                raise RuntimeError("the process was ended")
            if self.error is not None:
                raise self.error
            progress(view, 3)
        return f"known {spec.id}"

    def step(self, views: int = 1) -> None:
        self._steps.release(views)

    def interrupt(self) -> None:
        self.is_interrupted = True
        self.step()


@pytest.fixture
def make_queue() -> Iterator[Callable[..., OnboardingQueue[str]]]:
    made: list[OnboardingQueue[str]] = []

    def make(renderer: Renderer, **options: object) -> OnboardingQueue[str]:
        made.append(OnboardingQueue(renderer, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.shutdown()


Make = Callable[..., OnboardingQueue[str]]


def test_an_object_is_onboarded_and_committed(make_queue: Make) -> None:
    committed: list[str] = []
    task = make_queue(Renderer()).submit(MUG, commit=committed.append)
    assert task.result(WAIT_S) == "known mug"
    assert committed == ["known mug"]
    assert task.state == "done"


def test_progress_names_the_object_and_counts_its_views(make_queue: Make) -> None:
    seen: list[OnboardingProgress] = []
    task = make_queue(Renderer()).submit(MUG, on_progress=seen.append)
    task.result(WAIT_S)
    assert seen == [OnboardingProgress("mug", view, 3) for view in (1, 2, 3)]
    assert task.progress == seen[-1]


def test_objects_are_onboarded_one_by_one_in_their_order(make_queue: Make) -> None:
    renderer = Renderer(stepwise=True)
    queue = make_queue(renderer)
    first, second = queue.submit(MUG), queue.submit(CUP)
    assert renderer.started.wait(WAIT_S)
    assert renderer.begun == ["mug"]
    assert queue.tasks == (first, second)
    renderer.step(6)
    assert [task.result(WAIT_S) for task in (first, second)] == ["known mug", "known cup"]
    assert renderer.begun == ["mug", "cup"]
    assert queue.tasks == ()


def test_several_are_onboarded_at_a_time_where_wanted(make_queue: Make) -> None:
    together = threading.Barrier(2, timeout=WAIT_S)

    def onboard(spec: ObjectSpec, progress: Callable[[int, int], None]) -> str:
        together.wait()
        return spec.id

    queue = make_queue(onboard, concurrency=2)  # type: ignore[arg-type]
    tasks = [queue.submit(MUG), queue.submit(CUP)]
    assert [task.result(WAIT_S) for task in tasks] == ["mug", "cup"]


def test_what_onboarding_raises_is_raised_again(make_queue: Make) -> None:
    renderer = Renderer()
    renderer.error = ValueError("no triangles")
    queue = make_queue(renderer)
    task = queue.submit(MUG)
    with pytest.raises(ValueError, match="no triangles"):
        task.result(WAIT_S)
    assert task.state == "failed"
    renderer.error = None
    assert queue.submit(CUP).result(WAIT_S) == "known cup"


def test_an_object_that_cannot_be_committed_has_failed(make_queue: Make) -> None:
    def refuse(known: str) -> None:
        raise OSError("the disk is full")

    task = make_queue(Renderer()).submit(MUG, commit=refuse)
    with pytest.raises(OSError, match="full"):
        task.result(WAIT_S)
    assert task.state == "failed"


def test_an_object_that_waits_is_given_up_at_once(make_queue: Make) -> None:
    renderer, ended = Renderer(stepwise=True), []
    queue = make_queue(renderer)
    first, second = queue.submit(MUG), queue.submit(CUP, on_finished=lambda task: ended.append(task.state))
    assert queue.cancel("cup", "it was removed meanwhile") == (second,)
    assert ended == ["cancelled"]
    with pytest.raises(OnboardingCancelledError, match="removed meanwhile"):
        second.result(0)
    renderer.step(3)
    assert first.result(WAIT_S) == "known mug"
    assert renderer.begun == ["mug"]


def test_an_object_that_is_rendered_is_given_up_with_its_next_view(make_queue: Make) -> None:
    renderer, committed = Renderer(stepwise=True), []
    queue = make_queue(renderer)
    task = queue.submit(MUG, commit=committed.append)
    assert renderer.started.wait(WAIT_S)
    assert queue.cancel("mug", "it was removed meanwhile") == (task,)
    assert task.is_cancelled
    renderer.step()
    with pytest.raises(OnboardingCancelledError, match="removed meanwhile"):
        task.result(WAIT_S)
    assert task.state == "cancelled"
    assert committed == []


def test_work_can_be_interrupted_at_once(make_queue: Make) -> None:
    renderer = Renderer(stepwise=True)
    queue = make_queue(renderer, interrupt=renderer.interrupt)
    task = queue.submit(MUG)
    assert renderer.started.wait(WAIT_S)
    queue.cancel("mug", "the node is ending")
    with pytest.raises(OnboardingCancelledError, match="node is ending"):
        task.result(WAIT_S)


def test_an_object_that_is_given_up_without_a_reason_has_a_message_all_the_same(make_queue: Make) -> None:
    queue = make_queue(Renderer(stepwise=True))
    tasks = [queue.submit(MUG), queue.submit(CUP)]
    queue.cancel("cup")
    with pytest.raises(OnboardingCancelledError, match="not wanted any more"):
        tasks[1].result(0)


def test_what_is_committed_cannot_be_given_up(make_queue: Make) -> None:
    committing, may_go_on, answers = threading.Event(), threading.Event(), []

    def commit(known: str) -> None:
        committing.set()
        assert may_go_on.wait(WAIT_S)

    queue = make_queue(Renderer())
    task = queue.submit(MUG, commit=commit)
    assert committing.wait(WAIT_S)
    cancelling = threading.Thread(target=lambda: answers.append(queue.cancel("mug")))
    cancelling.start()
    may_go_on.set()
    cancelling.join(WAIT_S)
    assert answers == [()]
    assert task.result(WAIT_S) == "known mug"


def test_the_end_is_announced_before_the_result_is_there(make_queue: Make) -> None:
    ended: list[tuple[str, str]] = []

    def note(task: OnboardingTask[str]) -> None:
        ended.append((task.spec.id, task.state))

    make_queue(Renderer()).submit(MUG, on_finished=note).result(WAIT_S)
    assert ended == [("mug", "done")]


def test_shutting_down_gives_up_everything_and_takes_no_more(make_queue: Make) -> None:
    renderer = Renderer(stepwise=True)
    queue = make_queue(renderer, interrupt=renderer.interrupt)
    tasks = [queue.submit(MUG), queue.submit(CUP)]
    assert renderer.started.wait(WAIT_S)
    queue.shutdown("the server is ending", timeout_s=WAIT_S)
    tasks.append(queue.submit(PLATE))
    for task in tasks:
        with pytest.raises(OnboardingCancelledError, match="server is ending"):
            task.result(WAIT_S)
    assert renderer.begun == ["mug"]


def test_a_result_that_is_not_there_in_time_is_said(make_queue: Make) -> None:
    task = make_queue(Renderer(stepwise=True)).submit(MUG)
    with pytest.raises(TimeoutError, match="'mug' is not onboarded yet"):
        task.result(0)
