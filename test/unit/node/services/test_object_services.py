"""What `~/add_object` answers where an object is given up."""

import threading
from types import SimpleNamespace

import pytest
from ism_ros.srv import AddObject

from ism_ros.node.context import NodeContext
from ism_ros.node.event_log import EventLog
from ism_ros.node.services.object_services import ObjectServices


class Services:
    """Takes the callbacks of services, as a ROS node does."""

    def __init__(self):
        self.callbacks = {}

    def create_service(self, kind, name, callback, callback_group):
        self.callbacks[name] = callback

    def create_timer(self, *arguments, **options):
        """No objects file is watched."""


class Robot:
    """A node whose model calls `when_onboarding` while it onboards an object."""

    def __init__(self, logger):
        self.stopping = threading.Event()
        self.model = SimpleNamespace(onboard=self._onboard, library=SimpleNamespace(ids=(), category_ids=()))
        self.when_onboarding = None
        progress = SimpleNamespace(show=lambda text: None, clear=lambda: None, show_templates=lambda *counts: None)
        context = NodeContext(
            settings=lambda: None,
            state=lambda: "active",
            model=lambda: self.model,
            events=EventLog(logger),
            progress=progress,
            logger=logger,
            clock=None,
            stopping=self.stopping,
        )
        services = Services()
        self.objects = ObjectServices(services, context, lambda: None)
        self._add = services.callbacks["~/add_object"]

    def add(self, object_id):
        return self._add(AddObject.Request(id=object_id, cad="/mug.ply"), AddObject.Response())

    def _onboard(self, spec, progress):
        self.when_onboarding()
        progress(1, 42)
        return SimpleNamespace(id=spec.id)


@pytest.fixture
def robot():
    lines = []
    return Robot(SimpleNamespace(info=lines.append, warning=lines.append, error=lines.append, lines=lines))


def test_an_object_given_up_as_the_node_ends_is_answered_with_a_whole_sentence(robot):
    robot.when_onboarding = robot.stopping.set
    response = robot.add("mug")
    assert (response.success, response.message) == (False, "object 'mug' was not added: the node is ending")


def test_an_object_whose_model_is_gone_is_answered_with_a_whole_sentence(robot):
    robot.when_onboarding = lambda: setattr(robot, "model", None)
    response = robot.add("mug")
    assert (response.success, response.message) == (False, "object 'mug' was not added: the node was cleaned up")
