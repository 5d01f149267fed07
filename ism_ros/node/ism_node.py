"""The lifecycle node `ism`: synchronised RGB, depth and camera_info in, instances of known objects out."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import Header

from ism_ros.config import Settings, SettingsError, checked_settings
from ism_ros.frame import Frame, FrameError
from ism_ros.ism import InstanceSegmentationModel, load_model
from ism_ros.node.conversion import DepthNotes, Triple, frame_from_triple
from ism_ros.node.diagnostics import diagnostic_array, judge, memory_values, values_of
from ism_ros.node.mailbox import Mailbox
from ism_ros.node.messages import vision_info
from ism_ros.node.object_services import ObjectServices
from ism_ros.node.outputs import Outputs
from ism_ros.node.parameters import declare_settings
from ism_ros.node.segment_service import SegmentService
from ism_ros.node.statistics import Statistics
from ism_ros.node.stream import Arrival, Stream
from ism_ros.node.throttle import Throttle
from ism_ros.node.watch import Problem, why_no_frame
from ism_ros.node.worker import Worker
from ism_ros.objects.objects_file import read_objects_file

PATIENCE_S = 5.0
"""Without a frame for so long, the node says why."""
DIAGNOSTICS_PERIOD_S = 1.0
FOLLOW_PUBLISHERS_PERIOD_S = 0.5
LOG_PERIOD_S = 10.0
STOP_TIMEOUT_S = 0.3
LOGGED_TEMPLATES = 14
"""Every so many rendered templates the log says how far an object is."""

Transition = Callable[["IsmNode", LifecycleState], TransitionCallbackReturn]


class LoadingStoppedError(Exception):
    """The node is being shut down while it loads."""


def transition(callback: Transition) -> Transition:
    """Logs what a transition raises, which rclpy would swallow, and turns it into ERROR."""

    @functools.wraps(callback)
    def guarded(node: IsmNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return callback(node, state)
        except Exception as error:
            if not node.is_stopping:
                node.get_logger().error(f"{callback.__name__} failed: {error!r}")
            return TransitionCallbackReturn.ERROR

    return guarded


class IsmNode(LifecycleNodeMixin, Node):
    """Configure loads, activate subscribes, deactivate stops the stream and keeps the models, cleanup frees them.

    Raises SettingsError where a parameter cannot be used.
    """

    def __init__(self) -> None:
        Node.__init__(self, "ism", automatically_declare_parameters_from_overrides=True)
        # change_state may take minutes while objects are rendered; get_state must answer meanwhile
        LifecycleNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())
        self.settings: Settings = declare_settings(self)
        self.model: InstanceSegmentationModel | None = None
        self.stream: Stream | None = None
        self.worker: Worker[Arrival] | None = None
        self.outputs: Outputs | None = None
        self.mailbox: Mailbox[Arrival] = Mailbox()
        self.statistics = Statistics()
        self.load_error = ""
        self._progress = ""
        self._stopping = threading.Event()
        self._throttle = Throttle(LOG_PERIOD_S)
        self._once = Throttle(float("inf"))
        self._stream_group = MutuallyExclusiveCallbackGroup()
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._segment_service = SegmentService(self)
        self._object_services = ObjectServices(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        # with use_sim_time the node's clock may stand still; the camera must be watched all the same
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        alone = MutuallyExclusiveCallbackGroup()
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._on_diagnostics, alone, clock=steady)
        self.create_timer(FOLLOW_PUBLISHERS_PERIOD_S, self._on_follow_publishers, self._stream_group, clock=steady)

    # lifecycle

    @transition
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.load_error = ""
        try:
            self.model = self._load()
        except LoadingStoppedError:
            return TransitionCallbackReturn.FAILURE
        except (ValueError, OSError) as error:
            self.load_error = str(error)
            self._progress = self.load_error
            self.get_logger().fatal(self.load_error)
            return TransitionCallbackReturn.FAILURE
        self.outputs = Outputs(self)
        self.worker = Worker(self.mailbox, self._process, self._on_inference_error, self._min_period_s)
        self.publish_vision_info()
        return TransitionCallbackReturn.SUCCESS

    @transition
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.stream = Stream(self, self.settings, self._stream_group, self._on_arrival, self._on_notice)
        self.get_logger().info(f"active: looking for {len(self._objects())} objects")
        return TransitionCallbackReturn.SUCCESS

    @transition
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._close_stream()
        return TransitionCallbackReturn.SUCCESS

    @transition
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.release()
        return TransitionCallbackReturn.SUCCESS

    @transition
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.stop_loading()
        self.release()
        return TransitionCallbackReturn.SUCCESS

    @transition
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.release()
        return TransitionCallbackReturn.SUCCESS

    def autostart(self) -> bool:
        """Configures and activates without a lifecycle manager; False where the configuration is wrong."""
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    def stop_loading(self) -> None:
        """Makes a load in progress give up at its next step."""
        self._stopping.set()

    def _load(self) -> InstanceSegmentationModel:
        began = time.monotonic()
        if self.settings.segmentor == "depth" and self.settings.depth_transport == "none":
            raise SettingsError("segmentor 'depth' needs depth, but depth_transport is 'none': set it to raw")
        model = load_model(self.settings, self.on_progress)
        specs = read_objects_file(Path(self.settings.objects_file)) if self.settings.objects_file else ()
        self._object_services.remember(specs)
        self._progress = ""
        self.get_logger().info(f"{len(model.library)} objects ready after {time.monotonic() - began:.1f} s")
        return model

    def _close_stream(self) -> None:
        if self.stream is not None:
            self.stream.close()
            self.stream = None
        self.mailbox.clear()
        self._segment_service.forget()

    def release(self) -> None:
        """Gives back everything that configure and activate took; a frame in the making is dropped."""
        self._close_stream()
        if self.worker is not None:
            self.worker.stop(STOP_TIMEOUT_S)
            self.worker = None
        if self.outputs is not None:
            self.outputs.close()
            self.outputs = None
        self.model = None

    # the way of a frame

    def _on_arrival(self, arrival: Arrival) -> None:
        self._segment_service.remember(arrival.triple)
        self.mailbox.put(arrival)

    def _process(self, arrival: Arrival) -> None:
        """One frame from messages to messages, on the worker's thread."""
        model, outputs = self.model, self.outputs
        if model is None or outputs is None:
            return
        taken_s = time.perf_counter()
        try:
            frame, notes = self.frame_of(arrival.triple)
        except FrameError as error:
            self._reject(error)
            return
        self._note(notes)
        converted_s = time.perf_counter()
        detections = model.segment(frame)
        inferred_s = time.perf_counter()
        if self.stream is None:
            return
        outputs.publish(arrival.triple.rgb.header, frame, detections, inferred_s - converted_s)
        published_s = time.perf_counter()
        if len(detections) == 0:
            self.statistics.noticed("nothing_found")
        self.statistics.frame_done(
            {
                "synchronisation": arrival.synchronising_s,
                "waiting": taken_s - arrival.completed_s,
                "conversion": converted_s - taken_s,
                **detections.stage_s,
                "inference": inferred_s - converted_s,
                "publishing": published_s - inferred_s,
                **self._since_stamp(frame.stamp_ns),
            },
            len(detections),
        )

    def frame_of(self, triple: Triple) -> tuple[Frame, DepthNotes]:
        """The frame of one triple. Raises FrameError where it, or this segmentor, cannot use it."""
        frame, notes = frame_from_triple(triple)
        if not frame.has_depth and self.settings.segmentor == "depth":
            raise FrameError("no_depth", "depth has no reading at all: check the depth camera and its range")
        return frame, notes

    def _since_stamp(self, stamp_ns: int) -> dict[str, float]:
        """Stamp to now, left out where the camera's clock is evidently another one."""
        latency_s = (self.get_clock().now().nanoseconds - stamp_ns) * 1e-9
        return {"stamp_to_publish": latency_s} if 0.0 <= latency_s < 60.0 else {}

    def _reject(self, error: FrameError) -> None:
        self.statistics.frame_rejected(error.reason, str(error))
        if self._throttle.passes(error.reason):
            self.get_logger().warning(f"frame rejected: {error}")

    def _note(self, notes: DepthNotes) -> None:
        if notes.nonfinite_share > 0:
            self.statistics.noticed("nonfinite_depth")
            if self._once.passes("nonfinite_depth"):
                self.get_logger().info(
                    f"depth has NaN or infinite readings ({notes.nonfinite_share:.0%} of this frame): "
                    "they count as no reading"
                )
        if notes.negative_share > 0:
            self.statistics.noticed("negative_depth")
            if self._throttle.passes("negative_depth"):
                self.get_logger().warning(
                    f"depth has negative readings ({notes.negative_share:.0%} of this frame), taken as no reading: "
                    "check the depth driver"
                )

    def _on_inference_error(self, error: Exception) -> None:
        text = f"inference failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        self.statistics.inference_failed(text)
        if self._throttle.passes(text):
            self.get_logger().error(f"{text}; the frame is skipped")

    def _min_period_s(self) -> float:
        return 1.0 / self.settings.max_rate if self.settings.max_rate > 0 else 0.0

    # what is said

    def publish_vision_info(self) -> None:
        """Announces the library as it is now."""
        if self.model is not None and self.outputs is not None:
            header = Header(stamp=self.get_clock().now().to_msg())
            self.outputs.vision_info.publish(vision_info(self.model.library, self.settings, header))

    def on_progress(self, text: str) -> None:
        """Shows what is being loaded in /diagnostics and in the log; raises LoadingStoppedError at shutdown."""
        if self._stopping.is_set():
            raise LoadingStoppedError
        self._progress = text
        _, _, template = text.partition(", template ")
        if text and (not template or int(template.split()[0]) % LOGGED_TEMPLATES == 0):
            self.get_logger().info(text)

    def _on_notice(self, problem: Problem) -> None:
        self.statistics.noticed(problem.reason)
        if self._throttle.passes(problem.reason):
            self.get_logger().warning(problem.text)

    def _on_diagnostics(self) -> None:
        stream = self.stream
        problem = None if stream is None else self._problem(stream)
        snapshot = self.statistics.snapshot()
        state = self._state_machine.current_state[1]  # rclpy has no public getter
        level, text = judge(
            state, self._progress, len(self._objects()), problem, stream is not None and stream.had_frames, snapshot
        )
        device = self.model.device if self.model is not None else self.settings.device
        values = [
            ("state", state),
            ("progress", self._progress),
            ("objects", str(len(self._objects()))),
            *values_of(snapshot),
            ("frames_dropped", str(self.mailbox.dropped)),
            ("device", device),
            *memory_values(device),
        ]
        name = f"{self.get_fully_qualified_name().lstrip('/')}: segmentation"
        self._diagnostics.publish(diagnostic_array(self.get_clock().now().to_msg(), name, device, level, text, values))

    def _problem(self, stream: Stream) -> Problem | None:
        """Why no frame comes, said and counted, once it is time to ask."""
        if stream.quiet_s < PATIENCE_S:
            return None
        problem = why_no_frame(stream.topics(), self.settings.slop, PATIENCE_S)
        self._on_notice(problem)
        return problem

    def _on_follow_publishers(self) -> None:
        if self.stream is not None:
            self.stream.follow_publishers()

    # parameters

    def _on_set_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        changes: dict[str, Any] = {p.name: p.value for p in parameters if p.name in Settings.model_fields}
        try:
            settings = checked_settings({**self.settings.model_dump(), **changes})
        except SettingsError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.settings = settings
        if self.model is not None:
            self.model.settings = settings
        return SetParametersResult(successful=True)

    def _objects(self) -> tuple[str, ...]:
        return self.model.library.ids if self.model is not None else ()
