"""Ray and Ray Serve: a Ray of our own that only this machine can reach, or one that is there already; on it, replicas.

Ray reads its environment when it is imported, so it is imported where it is needed and not before.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import secrets
from dataclasses import dataclass
from typing import Any

from ism_ros.config.settings import Settings, SettingsError
from ism_ros.server.model_process.messages import WorkerOptions
from ism_ros.server.model_process.ray_replica import Models

OWN_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    # despite its name: with 0 the address of a node is 127.0.0.1 on every system, and nothing listens anywhere else
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
OBJECT_STORE_BYTES = 1 << 30
HEALTH_PERIOD_S = 1.0
IN_FLIGHT = 2
"""Requests that a replica takes at a time: a batch, and an object beside it."""


@dataclass(frozen=True)
class Share:
    """Of processors and GPUs, for one replica."""

    cpus: float
    gpus: float


def check_installed() -> None:
    """Raises SettingsError with what to do where Ray is missing."""
    if importlib.util.find_spec("ray") is None:
        raise SettingsError("the engine 'ray' needs Ray Serve: pip install 'ism_ros[ray]'")


def share_of(replicas: int, cpus: float, gpus: float) -> Share:
    """An equal one for each of so many replicas; a replica never has parts of two GPUs, nor more than one.

    A share fits even where there are more replicas than processors.
    """
    per_gpu = math.ceil(replicas / gpus) if gpus >= 1 else 0
    cpu_share = min(1.0, math.floor(100 * cpus / replicas) / 100)
    return Share(cpu_share, math.floor(10_000 / per_gpu) / 10_000 if per_gpu else 0.0)


def connect(address: str) -> None:
    """Joins the Ray at `address` (host:port, or auto for that of this machine), or starts one where it is empty.

    Raises ConnectionError with one line that says why.
    """
    if not address:
        os.environ.update(OWN_ENVIRONMENT)
        # of this run alone: other users of this machine have no business in it
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    import ray

    common: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    _be_quiet("ray")
    if address:
        try:
            ray.init(address=address, **common)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConnectionError(f"no Ray at ISM_RAY_ADDRESS {address}: {str(error).splitlines()[0]}") from None
    else:
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            **common,
        )


def deploy(name: str, replicas: int, settings: Settings, options: WorkerOptions, on_loopback: bool) -> Any:
    """The handle of the replicas, once all of them run. Raises RuntimeError where they do not start."""
    import ray
    from ray import serve

    there = ray.cluster_resources()
    gpus = 0.0 if settings.device == "cpu" else there.get("GPU", 0.0)
    share = share_of(replicas, there.get("CPU", 1.0), gpus)
    if share.gpus:
        settings = settings.model_copy(update={"device": "cuda:0"})  # Ray shows a replica no other one
    _be_quiet("ray.serve")
    serve.start(proxy_location="Disabled")  # the app itself is what listens
    deployment: Any = serve.deployment(
        num_replicas=replicas,
        max_ongoing_requests=IN_FLIGHT,
        health_check_period_s=HEALTH_PERIOD_S,
        ray_actor_options={"num_cpus": share.cpus, "num_gpus": share.gpus},
    )(Models)
    return serve.run(deployment.bind(settings, options, on_loopback), name=name, route_prefix=None)


def _be_quiet(name: str) -> None:
    """What Ray has to say goes into the server's log, in its format, and only where something is wrong."""
    logger = logging.getLogger(name)
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.ERROR)


def leave(name: str, is_own: bool) -> None:
    """Takes the replicas away, and Ray where it is our own."""
    import ray
    from ray import serve

    if not ray.is_initialized():
        return
    if not is_own:
        serve.delete(name)
    ray.shutdown()


def is_death(error: Exception) -> bool:
    """Whether a call failed because of its replica, rather than of what was asked."""
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    return isinstance(error, (RayError, RayServeException))
