"""The backends that the settings ask for."""

from __future__ import annotations

from collections.abc import Sequence

from ism_ros.config.settings import Settings
from ism_ros.server.backends.backend_protocol import Backend
from ism_ros.server.backends.local_backend import LocalBackend
from ism_ros.server.model_process.messages import ModelOptions
from ism_ros.server.settings import ServerSettings


def create_backends(settings: Settings, options: ModelOptions, server: ServerSettings) -> Sequence[Backend]:
    """Make the backends: one a device, or one for all replicas of Ray Serve.

    Args:
        settings: Settings of models and objects.
        options: Further options of processes with a model.
        server: Which backend, on which devices.

    Returns:
        The backends, not started.
    """
    if server.backend == "ray":
        from ism_ros.server.backends.ray_backend import RayBackend  # here, as nothing else needs Ray

        return [RayBackend(settings, options, server)]
    devices = server.device_list() or (settings.device,)
    return [LocalBackend(settings.model_copy(update={"device": device}), options) for device in devices]
