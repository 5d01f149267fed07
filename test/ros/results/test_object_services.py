"""Objects come and go while the node runs: the stream never stops, nothing that was stored is lost."""

import json
import os
import resource
import shutil
import signal
import statistics
import time

import psutil
import pytest
import yaml
from ism_ros.srv import ListObjects
from object_services import Library, latency_of, make_box, rendering_processes
from rcl_interfaces.srv import GetParameters

from ism_ros.objects.spec import read_objects_file

pytestmark = pytest.mark.faults
ANSWER_S = 0.1
END_S = 2.0


@pytest.fixture(scope="module")
def home(lasting_cell, workspace, tmp_path_factory):
    """An objects file with comments, which the node may change, and a cache in which its objects are."""
    folder = tmp_path_factory.mktemp("objects")
    shutil.copytree(workspace / "cache", folder / "cache")
    entries = yaml.safe_load((workspace / "objects.yaml").read_text())["objects"]
    for entry in entries:
        shutil.copy(workspace / entry["cad"], folder)
    lines = [f"  - {json.dumps(entry)}  # the {entry['id']}\n" for entry in entries]
    (folder / "objects.yaml").write_text("# bin 4\nobjects:\n" + "".join(lines))
    return folder


@pytest.fixture(scope="module")
def library(home, start_cell):
    cell = start_cell(parameters_of(home), topics=["detections", "vision_info"])
    try:
        cell.wait_until("active")
        cell.connect()
        yield Library(cell)
    finally:
        cell.close()


def parameters_of(home):
    return {
        "objects_file": str(home / "objects.yaml"),
        "cache_dir": str(home / "cache"),
        "device": "cpu",
        "save_objects": True,
    }


def saved(home):
    return {spec.id: spec.category_id for spec in read_objects_file(home / "objects.yaml")}


# adding


@pytest.fixture(scope="module")
def addition(library, home):
    """What was seen while a box was added to a running stream."""
    listener, camera = library.listener, library.cell.camera
    library.cell.result()
    camera.start_publishing(100_000, rate_hz=15.0)
    before = len(listener.messages["detections"])
    began = time.monotonic()
    answer = library.begin_adding(id="box", cad=str(make_box(home, 0)), units="m")
    latencies = {"list_objects": [], "get_parameters": []}
    clients = {
        "list_objects": (ListObjects, ListObjects.Request()),
        "get_parameters": (GetParameters, GetParameters.Request(names=["slop"])),
    }
    while not answer.done():
        for name, (kind, request) in clients.items():
            latencies[name].append(latency_of(listener, kind, name, request))
    seconds = time.monotonic() - began
    results = len(listener.messages["detections"]) - before
    library.cell.camera.kill()
    library.cell.connect()
    return {"answer": answer.result(), "latencies": latencies, "results": results, "seconds": seconds}


def test_an_object_is_added_from_a_cad_file_and_reported_as_ready(addition, library):
    assert addition["answer"].success, addition["answer"].message
    assert "added 'box' with 42 templates" in addition["answer"].message
    assert "box" in library.ids()


def test_results_keep_coming_while_an_object_is_added(addition):
    assert addition["results"] >= 3
    assert addition["results"] / addition["seconds"] > 0.3


def test_services_answer_at_once_while_frames_and_an_object_are_worked_on(addition):
    for name, seconds in addition["latencies"].items():
        assert len(seconds) >= 3
        assert statistics.median(seconds) < ANSWER_S, f"{name}: {seconds}"


def test_progress_is_in_the_log_and_gone_when_it_is_done(addition, library):
    for template in (14, 28, 42):
        assert f"adding box, template {template} of 42" in library.cell.node.output
    library.listener.wait_for(lambda: library.progress() == "", "no progress")


def test_an_object_may_come_as_templates_or_as_templates_and_cad_file(addition, library, home):
    views = str(next(path for path in (home / "cache" / "templates").iterdir() if (path / "rgb_0.png").exists()))
    assert library.add(id="views", templates=views).success
    both = library.add(id="both", templates=views, cad=str(next(home.glob("duck_1.*"))), units="m")
    assert both.success, both.message
    listed = {known.id: known for known in library.list().objects}
    assert (listed["views"].templates, listed["views"].cad) == (views, "")
    assert listed["both"].templates == views
    assert listed["both"].cad.endswith(("duck_1.ply", "duck_1.glb", "duck_1.obj", "duck_1.stl"))
    assert listed["both"].num_templates == 42


def test_a_late_subscriber_of_vision_info_gets_the_newest(addition, library):
    listener = library.listener
    library.remove("both")
    listed = library.list()
    listener.unsubscribe("vision_info")
    listener.messages["vision_info"].clear()
    listener.subscribe("vision_info")
    listener.wait_for(lambda: listener.messages["vision_info"], "vision_info")
    message = listener.messages["vision_info"][0]
    assert message.database_version == listed.version
    objects = json.loads(message.database_location)["objects"]
    assert [entry["id"] for entry in objects] == [known.id for known in listed.objects]


def test_additions_at_the_same_time_all_succeed_with_numbers_of_their_own(addition, library, home):
    box = str(home / "box_0.ply")
    version = library.list().version
    answers = library.add_at_once([{"id": name, "cad": box, "units": "m"} for name in ("one", "two", "three")])
    assert all(answer.success for answer in answers)
    listed = library.list()
    assert listed.version == version + 3
    numbers = [known.category_id for known in listed.objects]
    assert len(set(numbers)) == len(numbers)
    assert {"one", "two", "three"} <= set(saved(home))


def test_adding_an_id_again_replaces_the_object_and_keeps_its_number(addition, library, home):
    before = library.list()
    answer = library.add(id="drill", cad=str(home / "box_0.ply"), units="m")
    after = library.list()
    assert "replaced 'drill'" in answer.message
    assert after.version == before.version + 1
    assert {known.id: known.category_id for known in after.objects} == {
        known.id: known.category_id for known in before.objects
    }
    assert next(known.cad for known in after.objects if known.id == "drill").endswith("box_0.ply")


def test_a_number_that_another_object_has_is_refused(library, home):
    answer = library.add(id="other", cad=str(home / "duck_1.ply"), units="m", category_id=1)
    assert not answer.success
    assert "category_id 1 is already that of 'duck'" in answer.message


def test_removing_answers_while_another_object_is_added(library, home):
    library.add(id="short_lived", cad=str(home / "box_0.ply"), units="m")
    answer = library.begin_adding(id="box_1", cad=str(make_box(home, 1)), units="m")
    assert library.remove("short_lived").success
    assert not answer.done()
    assert answer.result().success
    assert "box_1" in library.ids()


def test_removing_an_object_that_is_being_added_stops_that(library, home):
    answer = library.begin_adding(id="unwanted", cad=str(make_box(home, 2)), units="m")
    assert "stopped adding 'unwanted'" in library.remove("unwanted").message
    added = answer.result()
    assert not added.success
    assert "removed meanwhile" in added.message
    assert "unwanted" not in library.ids()
    assert "unwanted" not in saved(home)
    assert rendering_processes(library.cell.node) == []


def test_a_template_folder_that_is_cut_short_is_refused_with_the_file(library, home, tmp_path):
    views = next(path for path in (home / "cache" / "templates").iterdir() if (path / "rgb_0.png").exists())
    shutil.copytree(views, tmp_path / "views")
    picture = tmp_path / "views" / "rgb_7.png"
    picture.write_bytes(picture.read_bytes()[:100])
    answer = library.add(id="broken", templates=str(tmp_path / "views"))
    assert not answer.success
    assert "rgb_7.png" in answer.message
    assert "render the templates again" in answer.message


# disk and files


def test_a_full_disk_costs_the_cache_and_not_the_object(library, home):
    pid = library.cell.node.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    cached = sorted(path.name for path in (home / "cache").rglob("*"))
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (500_000, limits[1]))  # EFBIG instead of ENOSPC
    try:
        answer = library.add(id="box_3", cad=str(make_box(home, 3)), units="m")
        assert answer.success, answer.message
        library.assert_problem("cannot keep")
        assert "free space" in library.listener.text("objects")
        assert "cannot keep files in" in library.cell.node.output
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
    left = [name for name in sorted(path.name for path in (home / "cache").rglob("*")) if name not in cached]
    assert not [name for name in left if name.startswith(".")], "nothing half-written"
    assert library.cell.result().detections
    assert library.add(id="box_3", cad=str(home / "box_3.ply"), units="m").success
    library.wait_for_no_problem()


def test_an_edit_by_hand_is_noticed_and_survives_what_the_node_saves(library, home):
    file = home / "objects.yaml"
    assert library.add(id="one", cad=str(home / "box_0.ply"), units="m").success
    file.write_text(
        file.read_text() + "  # from the night shift\n  - {id: by_hand, cad: box_0.ply, units: m, category_id: 99}\n"
    )
    library.assert_problem("was edited")
    assert library.remove("one").success
    assert "by_hand" in saved(home)
    assert "one" not in saved(home)
    assert "# from the night shift" in file.read_text()
    assert "by_hand" not in library.ids()
    library.assert_problem("was edited")


def test_a_half_written_file_is_left_alone_and_saved_to_once_it_is_whole(library, home):
    file = home / "objects.yaml"
    assert library.add(id="two", cad=str(home / "box_0.ply"), units="m").success
    whole = file.read_text()
    half = whole[: whole.index("duck") + 2]
    file.write_text(half)
    answer = library.remove("two")
    assert answer.success
    assert "not saved" in answer.message
    library.assert_problem("changes of two are not saved")
    assert file.read_text() == half
    file.write_text(whole)
    library.listener.wait_for(lambda: "not saved" not in library.listener.values()["objects_problem"], "saved")
    assert "two" not in saved(home)


# restart


@pytest.fixture(scope="module")
def restarted(library, home, start_cell):
    """What the first node knew, and another node with the same objects file."""
    before = {known.id: known.category_id for known in library.list().objects}
    cell = start_cell(parameters_of(home), topics=[])
    try:
        cell.wait_until("active")
        yield before, Library(cell)
    finally:
        cell.close()


def test_what_was_added_and_removed_survives_a_restart_with_its_numbers(restarted, home):
    before, library = restarted
    after = {known.id: known.category_id for known in library.list().objects}
    assert after.pop("by_hand") == 99
    assert after == before
    text = (home / "objects.yaml").read_text()
    assert text.startswith("# bin 4\nobjects:\n")
    assert "# the duck\n" in text


def test_cleaning_up_while_an_object_is_added_refuses_it(restarted, home):
    library = restarted[1]
    assert library.listener.transition("deactivate")
    answer = library.begin_adding(id="late", cad=str(make_box(home, 4)), units="m")
    assert library.listener.transition("cleanup")
    assert "cleaned up" in answer.result().message
    refused = library.add(id="late", cad=str(home / "box_4.ply"), units="m")
    assert "configure" in refused.message
    assert library.listener.transition("configure")
    library.cell.wait_until("inactive")


def test_ending_while_an_object_is_added_takes_less_than_two_seconds_and_leaves_everything_whole(restarted, home):
    library = restarted[1]
    node = library.cell.node
    objects = (home / "objects.yaml").read_text()
    library.begin_adding(id="latest", cad=str(make_box(home, 5)), units="m")
    (renderer,) = rendering_processes(node)
    before = node.output
    code, seconds = node.interrupt(signal.SIGINT)
    assert (code, seconds < END_S) == (0, True)
    assert [line for line in node.output[len(before) :].splitlines() if "[INFO]" not in line] == []
    assert psutil.wait_procs([renderer], timeout=10.0)[1] == []
    assert (home / "objects.yaml").read_text() == objects
    assert not [path for path in home.rglob(".*") if path.name != ".gitkeep"]


def test_a_damaged_cache_is_made_anew_at_the_start(shared_cell, workspace, parameters, start_cell, tmp_path):
    folder = tmp_path / "cache"
    shutil.copytree(workspace / "cache", folder)
    duck = next(path for path in sorted((folder / "templates").iterdir()))
    os.truncate(duck / "xyz_5.npy", 1000)
    os.truncate(duck / "mask_9.png", 0)
    for number, path in enumerate(sorted((folder / "descriptors").glob("*.patches.npy"))):
        os.truncate(path, path.stat().st_size // 2 if number else 0)
    for path in (folder / "descriptors").glob("*[0-9a-f].npz"):
        os.truncate(path, path.stat().st_size - 100)
    cell = start_cell({**parameters, "cache_dir": str(folder)}, topics=["detections"])
    try:
        cell.wait_until("active", timeout_s=300.0)
        assert "are damaged and rebuilt" in cell.node.output
        assert "cached templates are damaged and rendered again" in cell.node.output
        assert "Traceback" not in cell.node.output
        cell.listener.wait_for(lambda: cell.listener.count("noticed.cache_damaged") >= 3, "it in /diagnostics")
        cell.connect()
        found = {d.results[0].hypothesis.class_id for d in cell.result().detections}
        assert {"duck", "drill"} <= found
    finally:
        cell.close()
