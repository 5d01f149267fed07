"""The lifecycle node `ism`: synchronised RGB, depth and camera_info in, instances of known objects out."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable

import torch
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header

from ism_ros.config.settings import Settings
from ism_ros.model import InstanceSegmentationModel
from ism_ros.node.camera_monitoring.camera_monitor import CameraMonitor
from ism_ros.node.context import NodeContext
from ism_ros.node.diagnostics.counters import FrameCounters
from ism_ros.node.diagnostics.diagnostics_publisher import DiagnosticsPublisher, NodeStatus
from ism_ros.node.diagnostics.log_forwarding import LogForwarder
from ism_ros.node.event_log import EventLog
from ism_ros.node.execution.cpu_limiter import CpuLimiter
from ism_ros.node.execution.group_calls import GroupCalls
from ism_ros.node.execution.mailbox import Mailbox
from ism_ros.node.execution.worker_thread import LastWork, WorkerThread
from ism_ros.node.frame_follower import FrameFollower
from ism_ros.node.frame_processor import ConvertedFrame, FrameProcessor, ProcessedFrame
from ism_ros.node.inputs.frame_subscriber import FrameSubscriber, SyncedFrame
from ism_ros.node.lifecycle import accept_shutdown_anytime, transition
from ism_ros.node.model_loading import LoadingStoppedError, ModelLoader
from ism_ros.node.outputs.result_publishers import ResultPublishers
from ism_ros.node.parameters.live_parameters import LiveParameters
from ism_ros.node.parameters.parameter_declaration import declare_settings
from ism_ros.node.progress import Progress
from ism_ros.node.qos import unused_override_warnings
from ism_ros.node.services.object_services import ObjectServices
from ism_ros.node.services.segment_service import SegmentService
from ism_ros.objects.template_process import TemplateProcessStoppedError

FOLLOW_PUBLISHERS_PERIOD_S = 0.5
"""Time between two looks at the publishers, seconds."""
STOP_TIMEOUT_S = 0.3
"""How long the current frame may go on when the process ends, seconds."""
CLEANUP_TIMEOUT_S = 60.0
"""The same at cleanup, seconds: the memory is only free after it."""
MAX_LATENCY_S = 60.0
"""Age of a stamp above which the camera's clock is another one, seconds."""


class IsmNode(LifecycleNodeMixin, Node):
    """Configure loads, activate subscribes, deactivate unsubscribes and keeps the models, cleanup frees them.

    Attributes:
        calls: Callback group of the stream, and calls between its callbacks.
        settings: The settings in force.
    """

    def __init__(self) -> None:
        """Declare the parameters and create services and /diagnostics.

        Raises:
            SettingsError: A parameter cannot be used.
        """
        Node.__init__(self, "ism", automatically_declare_parameters_from_overrides=True)
        # change_state may take minutes while objects are rendered; get_state must answer meanwhile
        LifecycleNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())
        self._stopping = threading.Event()
        accept_shutdown_anytime(self, self.stop_loading)
        self.settings: Settings = declare_settings(self)
        self.calls = GroupCalls(self)
        self._model: InstanceSegmentationModel | None = None
        self._subscriber: FrameSubscriber | None = None
        self._worker: WorkerThread[SyncedFrame | ConvertedFrame] | None = None
        self._following: WorkerThread[SyncedFrame] | None = None
        self._publishing: WorkerThread[Callable[[], None]] | None = None
        self._results: ResultPublishers | None = None
        self._load_error = ""
        self._publish_lock = threading.Lock()
        self._mailbox: Mailbox[SyncedFrame | ConvertedFrame] = Mailbox()
        self._followed: Mailbox[SyncedFrame] = Mailbox()
        self._unpublished: Mailbox[Callable[[], None]] = Mailbox()
        self._frames, self._searches = FrameCounters(), FrameCounters()
        self._cpu_limiter = CpuLimiter(lambda: self.settings.max_cpu)
        logger = self.get_logger()
        self._event_log = EventLog(logger)
        self._progress = Progress(logger)
        self._shared = shared = NodeContext(
            settings=lambda: self.settings,
            state=lambda: str(self._state_machine.current_state[1]),  # rclpy has no public getter
            model=lambda: self._model,
            events=self._event_log,
            progress=self._progress,
            logger=logger,
            clock=self.get_clock(),
            stopping=self._stopping,
        )
        self._log_forwarder = LogForwarder(logger, self._event_log)
        self._processor = FrameProcessor(shared)
        self._follower = FrameFollower(self._processor, self._mailbox.put)
        self._camera = CameraMonitor(shared, lambda: self._subscriber)
        self._segment_service = SegmentService(
            self, shared, self.calls, lambda: self._worker, lambda: self._subscriber, self._processor.read_frame
        )
        self._objects = ObjectServices(self, shared, self._publish_vision_info)
        self._loader = ModelLoader(shared, self._objects)
        self._live_parameters = LiveParameters(self, shared, self._apply)
        self._diagnostics = DiagnosticsPublisher(self, shared, self._camera, self._frames, self._searches, self._status)
        # with use_sim_time the node's clock may stand still; publishers come and go all the same
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(FOLLOW_PUBLISHERS_PERIOD_S, self._follow_publishers, self.calls.group, clock=steady)

    # transitions

    @transition
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the models and the objects."""
        self._load_error = ""
        try:
            self._model = self._loader.load()
        except (LoadingStoppedError, TemplateProcessStoppedError):
            return TransitionCallbackReturn.FAILURE
        except (ValueError, OSError) as error:
            self._load_error = self._progress.text = str(error)
            self.get_logger().fatal(self._load_error)
            return TransitionCallbackReturn.FAILURE
        self._results = ResultPublishers(self, self.calls, self._event_log.warn, self.settings.publish_tf)
        self._worker = WorkerThread(self._mailbox, self._process, self._processor.report_failure, self._search_wait_s)
        self._following = WorkerThread(
            self._followed, self._follow, self._processor.report_failure, self._follow_wait_s, "ism_following"
        )
        self._publishing = WorkerThread(
            self._unpublished, lambda job: job(), self._processor.report_failure, lambda last: 0.0, "ism_publishing"
        )
        self._publish_vision_info()
        return TransitionCallbackReturn.SUCCESS

    @transition
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the camera."""
        self._camera.restart()
        self._cpu_limiter.restart()
        self._subscriber = FrameSubscriber(
            self, self.settings, self.calls, self._frame_arrived, self._event_log.warn, self._drop_waiting_frames
        )
        subscribed = [state.topic for state in self._subscriber.topics()]
        for text in unused_override_warnings(self, subscribed, self._results.topics if self._results else ()):
            self.get_logger().warning(text)
        known = 0 if self._model is None else len(self._model.library)
        self.get_logger().info(f"active: looking for {known} objects")
        return TransitionCallbackReturn.SUCCESS

    @transition
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; the models stay."""
        self._close_stream()
        return TransitionCallbackReturn.SUCCESS

    @transition
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the models."""
        self.release(CLEANUP_TIMEOUT_S)
        return TransitionCallbackReturn.SUCCESS

    @transition
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, for good."""
        self.stop_loading()
        self.release(CLEANUP_TIMEOUT_S)
        return TransitionCallbackReturn.SUCCESS

    @transition
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything after a transition raised; the node is unconfigured then."""
        try:
            self.release(CLEANUP_TIMEOUT_S)
        except Exception as error:  # only SUCCESS leads back to unconfigured, all else to the end of the node
            self.get_logger().error(f"giving back after an error failed: {error!r}")
        self._progress.text = self._load_error
        return TransitionCallbackReturn.SUCCESS

    def transition_failed(self, name: str, error: Exception) -> None:
        """Keep and log what a transition raised."""
        if not self._stopping.is_set():
            self._load_error = f"{name} failed: {error!r}; configure again"
            self.get_logger().error(self._load_error)

    def autostart(self) -> bool:
        """Configure and activate without a lifecycle manager.

        Returns:
            False where the configuration is wrong.
        """
        success = TransitionCallbackReturn.SUCCESS
        is_active = self.trigger_configure() == success and self.trigger_activate() == success
        return is_active or self._stopping.is_set()

    def stop_loading(self) -> None:
        """Make a load in progress end at its next step: the node is to end."""
        self._stopping.set()

    def release(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Free everything that configure and activate took; the result of the current frame is dropped.

        Args:
            timeout_s: How long to wait for the current frame, which nothing can interrupt and which needs the model.
        """
        self._close_stream()
        self._objects.close("the node was cleaned up")
        self._model = None
        beside, self._following, self._publishing = (self._following, self._publishing), None, None
        for thread in beside:
            if thread is not None:
                thread.stop(timeout_s)
        worker, self._worker = self._worker, None
        if worker is not None and not worker.stop(timeout_s) and not self._stopping.is_set():
            self.get_logger().warning(f"a frame still computes after {timeout_s:g} s; its memory is freed after it")
        results, self._results = self._results, None
        if results is not None:
            results.close()
        self._progress.clear()
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _close_stream(self) -> None:
        """Unsubscribe; nothing is published any more once this returns."""
        with self._publish_lock:
            subscriber, self._subscriber = self._subscriber, None
        if subscriber is not None:
            subscriber.close()
        self._drop_waiting_frames()

    # the way of a frame

    def _frame_arrived(self, arrived: SyncedFrame) -> None:
        self._camera.frame_arrived(arrived.messages.rgb.header.stamp)
        self._segment_service.set_newest(arrived.messages)
        if self.settings.tracking == "pose":
            self._followed.put(arrived)
        else:
            self._mailbox.put(arrived)

    def _process(self, item: SyncedFrame | ConvertedFrame) -> None:
        """Turn messages into results, on the worker's thread, with the settings in force when it begins."""
        model, results, subscriber, settings = self._model, self._results, self._subscriber, self.settings
        if model is None or results is None or subscriber is None:
            return
        if isinstance(item, ConvertedFrame):
            searched = self._follower.search(item, model, settings)
            self._searches.frame_done(searched.detections.stage_s, len(searched.detections))
            return
        self._follower.reset()
        processed = self._processor.process(item, model, settings)
        if processed is not None:
            self._publish(item.messages.rgb.header, processed, results, subscriber, settings)

    def _follow(self, arrived: SyncedFrame) -> None:
        """Follow instances into a frame, on a thread of its own; the next one is followed while this is published."""
        model, results, subscriber, settings = self._model, self._results, self._subscriber, self.settings
        if model is None or results is None or subscriber is None:
            return
        followed = self._follower.follow(arrived, model)
        if followed is None:
            return
        (converted, processed), merged_ns = followed, self._follower.take_merged()

        def publish() -> None:
            self._publish(converted.header, processed, results, subscriber, settings)
            for stamp_ns in merged_ns:
                latency_s = self._shared.age_s(Time(nanoseconds=stamp_ns).to_msg())
                if 0.0 <= latency_s < MAX_LATENCY_S:
                    self._searches.add_duration("stamp_to_publish", latency_s)

        self._unpublished.put(publish)

    def _publish(
        self,
        header: Header,
        processed: ProcessedFrame,
        results: ResultPublishers,
        subscriber: FrameSubscriber,
        settings: Settings,
    ) -> None:
        """Publish what was found or followed in a frame, and count it."""
        detections, began_s = processed.detections, time.perf_counter()
        with self._publish_lock:
            if self._subscriber is not subscriber:  # deactivated, and perhaps activated again
                return
            results.publish(
                header,
                processed.frame,
                detections,
                processed.inference_s,
                settings.overlay_style,
                processed.lost,
                with_tf=settings.tracking == "pose",
            )
        stage_s = {**processed.stage_s, "publishing": time.perf_counter() - began_s}
        latency_s = self._shared.age_s(header.stamp)
        if 0.0 <= latency_s < MAX_LATENCY_S:
            stage_s["stamp_to_publish"] = latency_s
        self._frames.frame_done(stage_s, len(detections), detections.best_rejected)

    def _search_wait_s(self, last: LastWork) -> float:
        period_s = self._follower.search_period_s() if self.settings.tracking == "pose" else self._min_period_s()
        return max(period_s - last.since_start_s, self._cpu_limiter.search_wait_s(last.since_start_s))

    def _follow_wait_s(self, last: LastWork) -> float:
        paced_s = self._cpu_limiter.follow_wait_s(last.since_start_s, last.took_s)
        return max(self._min_period_s() - last.since_start_s, paced_s)

    def _min_period_s(self) -> float:
        return 1.0 / self.settings.max_rate if self.settings.max_rate > 0 else 0.0

    def _drop_waiting_frames(self) -> None:
        self._mailbox.clear()
        self._followed.clear()
        self._unpublished.clear()
        self._segment_service.clear_newest()

    # what the parts call back

    def _publish_vision_info(self) -> None:
        if self._model is not None and self._results is not None:
            self._results.publish_vision_info(self.get_clock().now().to_msg(), self._model.library, self.settings)

    def _status(self) -> NodeStatus:
        worker = self._worker
        busy_s = 0.0 if worker is None else worker.busy_s
        # of the frames that are followed, most are not searched, and that is no loss
        is_following = self.settings.tracking == "pose"
        dropped = self._followed.dropped + self._unpublished.dropped if is_following else self._mailbox.dropped
        return NodeStatus(self._load_error, busy_s, dropped, self._objects.problem, self._cpu_limiter.share())

    def _apply(self, settings: Settings) -> None:
        """Use new settings from the next frame on; the current one ends with those it began with."""
        self.settings = settings
        self._mailbox.wake()  # it may be waiting for the period of the old max_rate, or for that of max_cpu
        self._followed.wake()

    def _follow_publishers(self) -> None:
        if self._subscriber is not None:
            self._subscriber.follow_publishers()
