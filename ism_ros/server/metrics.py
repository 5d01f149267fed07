"""What /metrics says, in Prometheus' format."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """One registry an app, so that two apps in one process do not share numbers."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "ism_requests", "Answers by path and status.", ("path", "status"), registry=self._registry
        )
        self._latency = Histogram(
            "ism_request_seconds", "From the first byte to the answer.", ("path",), buckets=SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self._stages = Histogram(
            "ism_stage_seconds", "Of each stage of the engine.", ("stage",), buckets=SECONDS, registry=self._registry
        )
        self._detections = Counter("ism_detections", "Detections in answers.", registry=self._registry)
        self._queue = Gauge("ism_queue_depth", "Requests that wait.", registry=self._registry)
        self._device = Gauge("ism_device_memory_bytes", "Allocated on the device.", registry=self._registry)
        self._cache = Gauge("ism_object_cache", "Objects named by path.", ("what",), registry=self._registry)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """path: the route's pattern, never the client's text, which would make a series for each."""
        self._requests.labels(path, str(status)).inc()
        self._latency.labels(path).observe(seconds)

    def inferred(self, stage_s: Mapping[str, float], detections: int) -> None:
        """stage_s: seconds of each stage of one frame."""
        for stage, seconds in stage_s.items():
            self._stages.labels(stage).observe(seconds)
        self._detections.inc(detections)

    def text(self, queue_depth: int, device_bytes: int, cache: Mapping[str, int]) -> bytes:
        """Everything, with the gauges as they are now."""
        self._queue.set(queue_depth)
        self._device.set(device_bytes)
        for what, value in cache.items():
            self._cache.labels(what).set(value)
        return generate_latest(self._registry)
