"""Numbers of /metrics, in Prometheus' format."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the histograms' buckets, seconds."""


class Metrics:
    """Counters, histograms and gauges of one app; each app has its own, so that two do not share numbers.

    Attributes:
        registry: Prometheus' registry that they are in.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "ism_requests", "Responses by path and status.", ("path", "status"), registry=self.registry
        )
        self._latency = Histogram(
            "ism_request_seconds", "From the first byte to the response.", ("path",), buckets=BUCKETS_S,
            registry=self.registry,
        )  # fmt: skip
        self._stages = Histogram(
            "ism_stage_seconds", "Of each stage of the model.", ("stage",), buckets=BUCKETS_S, registry=self.registry
        )
        self._detections = Counter("ism_detections", "Detections in responses.", registry=self.registry)
        self._queue = Gauge("ism_queue_depth", "Requests that wait.", registry=self.registry)
        self._device = Gauge("ism_device_memory_bytes", "Allocated on the device.", registry=self.registry)
        self._cache = Gauge("ism_object_cache", "Objects named by path.", ("what",), registry=self.registry)

    def observe_response(self, path: str, status: int, seconds: float) -> None:
        """Count one response.

        Args:
            path: Pattern of the route, never the client's text, which would make a series for each.
            status: HTTP status.
            seconds: Time from request to response.
        """
        self._requests.labels(path, str(status)).inc()
        self._latency.labels(path).observe(seconds)

    def observe_inference(self, stage_s: Mapping[str, float], detections: int) -> None:
        """Count the inference of one frame.

        Args:
            stage_s: Seconds of each stage.
            detections: Number of detections.
        """
        for stage, seconds in stage_s.items():
            self._stages.labels(stage).observe(seconds)
        self._detections.inc(detections)

    def render(self, queue_depth: int, device_bytes: int, cache: Mapping[str, int]) -> bytes:
        """Write all numbers in Prometheus' text format.

        Args:
            queue_depth: Requests that wait.
            device_bytes: Memory that is allocated on the devices.
            cache: Objects, hits and misses of the caches.

        Returns:
            The text, UTF-8.
        """
        self._queue.set(queue_depth)
        self._device.set(device_bytes)
        for what, value in cache.items():
            self._cache.labels(what).set(value)
        return generate_latest(self.registry)
