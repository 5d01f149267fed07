"""The services by which objects of a node come and go, as a client of the node calls them."""

import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import trimesh
from diagnostic_msgs.msg import DiagnosticStatus
from ism_ros.srv import AddObject, ListObjects, RemoveObject

ADD_S = 240.0


def make_box(folder, number):
    """A CAD file that no cache knows."""
    mesh = trimesh.creation.box((0.06, 0.04, 0.03 + 0.002 * number))
    mesh.visual.face_colors = [200, 20 * number % 255, 50, 255]
    file = folder / f"box_{number}.ply"
    mesh.export(file)
    return file


class Library:
    """The three services of a node, and calls that go on beside others."""

    def __init__(self, cell):
        self.cell = cell
        self.listener = cell.listener
        self._beside = ThreadPoolExecutor(8)

    def add(self, **fields):
        return self.listener.call(AddObject, "add_object", AddObject.Request(**fields), ADD_S)

    def begin_adding(self, **fields):
        """A future of the answer, once the object is being rendered."""
        answer = self._beside.submit(self.add, **fields)
        self.listener.wait_for(lambda: f"adding {fields['id']}, template" in self.progress(), "rendering")
        return answer

    def add_at_once(self, requests):
        return [future.result() for future in [self._beside.submit(self.add, **fields) for fields in requests]]

    def remove(self, object_id):
        return self.listener.call(RemoveObject, "remove_object", RemoveObject.Request(id=object_id))

    def list(self):
        return self.listener.call(ListObjects, "list_objects", ListObjects.Request())

    def ids(self):
        return [known.id for known in self.list().objects]

    def progress(self):
        return self.listener.values().get("progress", "")

    def assert_problem(self, said):
        """From this moment on it takes two seconds at most until it is in /diagnostics."""
        self.listener.assert_told("objects", DiagnosticStatus.WARN, said, since_s=time.monotonic())

    def wait_for_no_problem(self):
        self.listener.wait_for(lambda: not self.listener.values().get("objects_problem", "-"), "no problem any more")


def rendering_processes(node):
    children = psutil.Process(node.process.pid).children(recursive=True)
    return [child for child in children if "template_process" in " ".join(child.cmdline())]


def latency_of(listener, kind, name, request):
    """Seconds of one call, its client being known to the node already."""
    client = listener.node.create_client(kind, f"ism/{name}")
    try:
        assert client.wait_for_service(60.0)
        done = []
        began = time.perf_counter()
        client.call_async(request).add_done_callback(lambda future: done.append(time.perf_counter()))
        deadline = began + 60.0
        while not done and time.perf_counter() < deadline:
            time.sleep(0.001)
        assert done, f"{name} did not answer"
        return done[0] - began
    finally:
        listener.node.destroy_client(client)
