"""The lifecycle node `ism`: synchronised RGB, depth and camera_info in, instances of known objects out."""

from __future__ import annotations

import functools
import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from std_msgs.msg import Header

from ism_ros.config.settings import Settings, check_depth
from ism_ros.data.detections import Detections
from ism_ros.data.frame import Frame, FrameError
from ism_ros.model import InstanceSegmentationModel, load_model
from ism_ros.node.camera_monitoring.camera_monitor import CameraWatch
from ism_ros.node.camera_monitoring.missing_frames import Problem
from ism_ros.node.conversion.frame_conversion import DepthNotes, UndistortedFrame, frame_from_triple
from ism_ros.node.diagnostics.counters import Statistics
from ism_ros.node.diagnostics.diagnostics_publisher import Report
from ism_ros.node.diagnostics.log_forwarding import LogBridge
from ism_ros.node.diagnostics.summaries import failure_text
from ism_ros.node.diagnostics.throttle import Throttle
from ism_ros.node.execution.group_calls import GroupCalls
from ism_ros.node.execution.mailbox import Mailbox
from ism_ros.node.execution.out_of_memory import give_back_memory
from ism_ros.node.execution.worker_thread import Worker
from ism_ros.node.inputs.frame_subscriber import Arrival, Stream
from ism_ros.node.inputs.rgbd_messages import Triple
from ism_ros.node.lifecycle import accept_shutdown_anytime
from ism_ros.node.outputs.detection_messages import vision_info
from ism_ros.node.outputs.result_publishers import Outputs
from ism_ros.node.parameters.declaration import declare_settings
from ism_ros.node.parameters.live_parameters import LiveParameters
from ism_ros.node.qos import overrides_of_nothing
from ism_ros.node.services.object_services import ObjectServices
from ism_ros.node.services.segment_service import SegmentService
from ism_ros.objects.template_process import PreparationStoppedError
from ism_ros.tracking import Tracker

FOLLOW_PUBLISHERS_PERIOD_S = 0.5
LOG_PERIOD_S = 10.0
UNIT_CHECK_PERIOD_S = 1.0
"""A unit that is wrong stays so, and not every frame without objects is to take longer than others."""
STOP_TIMEOUT_S = 0.3
"""For a frame in the making when the process ends."""
CLEANUP_TIMEOUT_S = 60.0
"""For the same at cleanup: only after it the memory is free."""
SAID_ONCE = ("empty_frame_id", "grey_image")
"""Doubts about all frames of a camera, with which it can be used for good."""
LOGGED_TEMPLATES = 14
"""Every so many rendered templates the log says how far an object is."""

Transition = Callable[["IsmNode", LifecycleState], TransitionCallbackReturn]


class LoadingStoppedError(Exception):
    """The node is being shut down while it loads."""


def transition(callback: Transition) -> Transition:
    """Says what a transition raises, which rclpy would swallow, and turns it into ERROR, after which on_error comes."""

    @functools.wraps(callback)
    def guarded(node: IsmNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return callback(node, state)
        except Exception as error:
            if not node.is_stopping:
                node.load_error = f"{callback.__name__.removeprefix('on_')} failed: {error!r}; configure again"
                node.get_logger().error(node.load_error)
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
        accept_shutdown_anytime(self, self.stop_loading)
        self.settings: Settings = declare_settings(self)
        self.model: InstanceSegmentationModel | None = None
        self.stream: Stream | None = None
        self.worker: Worker[Arrival] | None = None
        self.outputs: Outputs | None = None
        self.mailbox: Mailbox[Arrival] = Mailbox()
        self.statistics = Statistics()
        self._tracker = Tracker()
        self.load_error = ""
        self.progress = ""
        self._stopping = threading.Event()
        self._throttle = Throttle(LOG_PERIOD_S)
        self._once = Throttle(float("inf"))
        self._unit_checks = Throttle(UNIT_CHECK_PERIOD_S)
        self._publishing = threading.Lock()
        self.stream_calls = GroupCalls(self)
        self.camera = CameraWatch(self)
        self._segment_service = SegmentService(self)
        self.object_services = ObjectServices(self)
        self._live_parameters = LiveParameters(self, self.settings, lambda: self.state, self._take_over)
        self._log_bridge = LogBridge(self.get_logger(), self._on_warning)
        self._report = Report(self)
        # with use_sim_time the node's clock may stand still; publishers come and go all the same
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(FOLLOW_PUBLISHERS_PERIOD_S, self._on_follow_publishers, self.stream_calls.group, clock=steady)

    # lifecycle

    @transition
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.load_error = ""
        try:
            self.model = self._load()
        except (LoadingStoppedError, PreparationStoppedError):
            return TransitionCallbackReturn.FAILURE
        except (ValueError, OSError) as error:
            self.load_error = self.progress = str(error)
            self.get_logger().fatal(self.load_error)
            return TransitionCallbackReturn.FAILURE
        self.model.settings = self.settings  # live ones may have changed meanwhile
        self.outputs = Outputs(self, self.stream_calls, self.on_notice)
        self.worker = Worker(self.mailbox, self._process, self._on_inference_error, self._min_period_s)
        self.publish_vision_info()
        return TransitionCallbackReturn.SUCCESS

    @transition
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.camera.restart()
        self.stream = Stream(self, self.settings, self.stream_calls, self._on_arrival, self.on_notice)
        self._warn_of_idle_overrides(self.stream)
        known = 0 if self.model is None else len(self.model.library)
        self.get_logger().info(f"active: looking for {known} objects")
        return TransitionCallbackReturn.SUCCESS

    @transition
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._close_stream()
        return TransitionCallbackReturn.SUCCESS

    @transition
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.release(CLEANUP_TIMEOUT_S)
        return TransitionCallbackReturn.SUCCESS

    @transition
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.stop_loading()
        self.release(CLEANUP_TIMEOUT_S)
        return TransitionCallbackReturn.SUCCESS

    @transition
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            self.release(CLEANUP_TIMEOUT_S)
        except Exception as error:  # only SUCCESS leads back to unconfigured, all else to the end of the node
            self.get_logger().error(f"giving back after an error failed: {error!r}")
        self.progress = self.load_error
        return TransitionCallbackReturn.SUCCESS

    def autostart(self) -> bool:
        """Configures and activates without a lifecycle manager; False where the configuration is wrong."""
        success = TransitionCallbackReturn.SUCCESS
        return (self.trigger_configure() == success and self.trigger_activate() == success) or self.is_stopping

    @property
    def state(self) -> str:
        """Of the life cycle: unconfigured, inactive, active, ..."""
        return str(self._state_machine.current_state[1])  # rclpy has no public getter

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    def stop_loading(self) -> None:
        """Makes a load in progress give up at its next step."""
        self._stopping.set()

    def _load(self) -> InstanceSegmentationModel:
        began = time.monotonic()
        check_depth(self.settings)
        specs = self.object_services.begin(self.settings)
        model = load_model(self.settings, self.on_progress, specs, self.object_services.prepare)
        self.progress = ""
        self.get_logger().info(f"{len(model.library)} objects ready after {time.monotonic() - began:.1f} s")
        self.object_services.say_loaded(model.library)
        return model

    def _warn_of_idle_overrides(self, stream: Stream) -> None:
        subscribed = [state.topic for state in stream.topics()]
        for name in overrides_of_nothing(self, subscribed, self.outputs.topics if self.outputs is not None else ()):
            self.get_logger().warning(
                f"parameter '{name}' has no effect: this node subscribes to {', '.join(subscribed)} and publishes its "
                "results; the form is qos_overrides.<whole topic>.subscription.<policy>, or .publisher.<policy>"
            )

    def _close_stream(self) -> None:
        """Nothing is published any more once this returns; the frame in the making is dropped."""
        with self._publishing:
            stream, self.stream = self.stream, None
        if stream is not None:
            stream.close()
        self.mailbox.clear()
        self._segment_service.forget()

    def release(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Gives back everything that configure and activate took; a frame in the making is dropped.

        timeout_s: how long to wait for that frame, whose computation nothing can interrupt and which needs the model.
        """
        self._close_stream()
        self.object_services.end("the node was cleaned up")
        self.model = None
        worker, self.worker = self.worker, None
        if worker is not None and not worker.stop(timeout_s) and not self.is_stopping:
            self.get_logger().warning(f"a frame still computes after {timeout_s:g} s; its memory is freed after it")
        outputs, self.outputs = self.outputs, None
        if outputs is not None:
            outputs.close()
        self.progress = ""
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    # the way of a frame

    def _on_arrival(self, arrival: Arrival) -> None:
        self.camera.frame(self._age_s(arrival.triple.rgb.header.stamp))
        self._segment_service.remember(arrival.triple)
        self.mailbox.put(arrival)

    def _process(self, arrival: Arrival) -> None:
        """One frame from messages to messages, on the worker's thread, with the settings there are when it begins."""
        model, outputs, stream, settings = self.model, self.outputs, self.stream, self.settings
        if model is None or outputs is None or stream is None:
            return
        taken_s = time.perf_counter()
        try:
            frame, notes = self.frame_of(arrival.triple)
        except FrameError as error:
            self._reject(error)
            return
        self._note(notes)
        converted_s = time.perf_counter()
        with_unit_check = self._unit_checks.passes("frame")
        detections = model.segment(frame, settings=settings, with_unit_check=with_unit_check)
        self._warn_of_input(detections, model)
        if settings.tracking:
            detections = self._tracker.update(detections.to("cpu"), frame.stamp_ns)
        else:
            self._tracker.reset()
        inferred_s = time.perf_counter()
        with self._publishing:
            if self.stream is not stream:  # deactivated, and perhaps activated again
                return
            header = arrival.triple.rgb.header
            outputs.publish(header, frame, detections, inferred_s - converted_s, settings.overlay_style)
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
                **self._since_stamp(arrival.triple.rgb.header.stamp),
            },
            len(detections),
            detections.near_miss,
        )

    def frame_of(self, triple: Triple) -> tuple[Frame, DepthNotes]:
        """The frame of one triple. Raises FrameError where it, or this segmentor, cannot use it."""
        frame, notes = frame_from_triple(triple)
        if isinstance(frame, UndistortedFrame) and self._once.passes("lens"):
            self.get_logger().info(
                f"rgb is raw: its lens, which moves pixels by up to {frame.lens.largest_shift_px:.0f}, is corrected by "
                "D of camera_info; masks and boxes are in the pixels of rgb as it comes"
            )
        if not frame.has_depth and self.settings.segmentor == "depth":
            raise FrameError("no_depth", "depth has no reading at all: check the depth camera and its range")
        return frame, notes

    def _age_s(self, stamp: Any) -> float:
        """Seconds since `stamp` on the node's clock, which may be another one than the camera's."""
        return (self.get_clock().now().nanoseconds - stamp.sec * 1_000_000_000 - stamp.nanosec) * 1e-9

    def _since_stamp(self, stamp: Any) -> dict[str, float]:
        """Stamp to now, left out where the camera's clock is evidently another one."""
        latency_s = self._age_s(stamp)
        return {"stamp_to_publish": latency_s} if 0.0 <= latency_s < 60.0 else {}

    def _reject(self, error: FrameError) -> None:
        self.statistics.frame_rejected(error.reason, str(error))
        self.warn(error.reason, f"frame rejected: {error}")

    def _warn_of_input(self, detections: Detections, model: InstanceSegmentationModel) -> None:
        """Says what is odd about the frame; what is odd about an object is said once, when it is onboarded."""
        of_objects = {warning for known in model.library.objects for warning in known.warnings}
        for warning in detections.warnings:
            if warning.reason in SAID_ONCE and not self._once.passes(warning.text):
                continue
            if warning not in of_objects:
                self.on_notice(Problem(warning.reason, warning.text))

    def _note(self, notes: DepthNotes) -> None:
        if notes.nonfinite_share > 0:
            self.statistics.noticed("nonfinite_depth")
            if self._once.passes("nonfinite_depth"):
                self.get_logger().info(
                    f"depth has NaN or infinite readings ({notes.nonfinite_share:.0%} of this frame): "
                    "they count as no reading"
                )
        if notes.negative_share > 0:
            self.on_notice(
                Problem(
                    "negative_depth",
                    f"depth has negative readings ({notes.negative_share:.0%} of this frame), taken as no reading: "
                    "check the depth driver",
                )
            )

    def _on_inference_error(self, error: Exception) -> None:
        text = failure_text(error)
        give_back_memory(error)
        self.statistics.inference_failed(text)
        if self._throttle.passes(text):
            self.get_logger().error(text)

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
        self.show_progress(text)

    def show_progress(self, text: str) -> None:
        """Shows what is being loaded in /diagnostics and, now and then, in the log."""
        self.progress = text
        _, _, template = text.partition(", template ")
        if text and (not template or int(template.split()[0]) % LOGGED_TEMPLATES == 0):
            self.get_logger().info(text)

    def _on_warning(self, reason: str, text: str) -> None:
        self.statistics.noticed(reason)
        self.object_services.on_warning(reason, text)

    def on_notice(self, problem: Problem) -> None:
        """Counts and says what is odd but stops no frame."""
        if problem.reason == "time_jump":
            # what waits is from before the jump
            self.mailbox.clear()
            self._segment_service.forget()
        self.statistics.noticed(problem.reason, problem.text, problem.count)
        self.warn(problem.reason, problem.text)

    def warn(self, reason: str, text: str) -> None:
        """Says `text` in the log, but not again and again: once in LOG_PERIOD_S for the same `reason`."""
        if self._throttle.passes(reason):
            self.get_logger().warning(text)

    def _on_follow_publishers(self) -> None:
        if self.stream is not None:
            self.stream.follow_publishers()

    # parameters

    def _take_over(self, settings: Settings) -> None:
        """From the next frame on; the one in the making ends with those it began with."""
        self.settings = settings
        model = self.model
        if model is not None:
            model.settings = settings
        self.mailbox.wake()  # a lower max_rate may be waited for
