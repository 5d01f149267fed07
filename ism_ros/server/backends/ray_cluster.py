"""Ray and Ray Serve: a cluster of our own that only this machine can reach, or one that is there, with replicas on it.

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
from ism_ros.errors import first_line
from ism_ros.server.model_process.messages import ModelOptions
from ism_ros.server.model_process.ray_replica import RayReplica

OWN_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    # despite its name: with 0 the address of a node is 127.0.0.1 on every system, and nothing listens anywhere else
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
"""Environment variables of a Ray of our own."""
OBJECT_STORE_BYTES = 1 << 30
"""Memory of Ray's object store, bytes."""
HEALTH_PERIOD_S = 1.0
"""Seconds between two health checks of a replica."""
MAX_ONGOING_REQUESTS = 2
"""Calls that a replica takes at a time: a batch, and the onboarding of an object."""


@dataclass(frozen=True)
class ReplicaResources:
    """What one replica may use.

    Attributes:
        cpus: Processors.
        gpus: GPUs, 0 to 1.
    """

    cpus: float
    gpus: float


def check_installed() -> None:
    """Check that Ray is installed.

    Raises:
        SettingsError: It is not; the message says what to do.
    """
    if importlib.util.find_spec("ray") is None:
        raise SettingsError("the backend 'ray' needs Ray Serve: pip install 'ism_ros[ray]'")


def resources_of(replicas: int, cpus: float, gpus: float) -> ReplicaResources:
    """Share processors and GPUs out equally; a replica never has parts of two GPUs, nor more than one.

    The shares fit even where there are more replicas than processors.

    Args:
        replicas: Number of replicas.
        cpus: Processors of the cluster.
        gpus: GPUs of the cluster.

    Returns:
        The share of each replica.
    """
    per_gpu = math.ceil(replicas / gpus) if gpus >= 1 else 0
    cpu_share = min(1.0, math.floor(100 * cpus / replicas) / 100)
    return ReplicaResources(cpu_share, math.floor(10_000 / per_gpu) / 10_000 if per_gpu else 0.0)


def connect(address: str) -> None:
    """Join a Ray cluster, or start one.

    Args:
        address: host:port, or auto for that of this machine; empty = start one.

    Raises:
        ConnectionError: There is none; one line says why.
    """
    if not address:
        os.environ.update(OWN_ENVIRONMENT)
        # of this run alone: other users of this machine have no business in it
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    import ray

    common: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    _log_errors_only("ray")
    if address:
        try:
            ray.init(address=address, **common)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConnectionError(f"no Ray at ISM_RAY_ADDRESS {address}: {first_line(error)}") from None
    else:
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            **common,
        )


def deploy(name: str, replicas: int, settings: Settings, options: ModelOptions, on_loopback: bool) -> Any:
    """Deploy the replicas.

    Args:
        name: Name of the application.
        replicas: Number of replicas.
        settings: Settings of models and objects.
        options: Further options of a replica.
        on_loopback: Replicas listen at 127.0.0.1 alone.

    Returns:
        The handle of the deployment, once all replicas run.

    Raises:
        RuntimeError: They do not start.
    """
    import ray
    from ray import serve

    cluster = ray.cluster_resources()
    gpus = 0.0 if settings.device == "cpu" else cluster.get("GPU", 0.0)
    share = resources_of(replicas, cluster.get("CPU", 1.0), gpus)
    if share.gpus:
        settings = settings.model_copy(update={"device": "cuda:0"})  # Ray shows a replica no other one
    _log_errors_only("ray.serve")
    serve.start(proxy_location="Disabled")  # the app itself is what listens
    deployment: Any = serve.deployment(
        num_replicas=replicas,
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        health_check_period_s=HEALTH_PERIOD_S,
        ray_actor_options={"num_cpus": share.cpus, "num_gpus": share.gpus},
    )(RayReplica)
    return serve.run(deployment.bind(settings, options, on_loopback), name=name, route_prefix=None)


def _log_errors_only(name: str) -> None:
    """Send a logger of Ray's into the server's log, in its format, and only where something is wrong."""
    logger = logging.getLogger(name)
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.ERROR)


def leave(name: str, is_own: bool) -> None:
    """Remove the replicas, and shut Ray down where it is our own.

    Args:
        name: Name of the application.
        is_own: Whether this server has started Ray.
    """
    import ray
    from ray import serve

    if not ray.is_initialized():
        return
    if not is_own:
        serve.delete(name)
    ray.shutdown()


def is_replica_failure(error: Exception) -> bool:
    """Return whether a call failed because its replica ended, rather than because of what it was given.

    Args:
        error: What the call has raised.
    """
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    return isinstance(error, (RayError, RayServeException))
