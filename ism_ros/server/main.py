"""Starts uvicorn with the app."""

from __future__ import annotations

from typing import Any

from ism_ros.config import SettingsError
from ism_ros.server.app import create_app
from ism_ros.server.connections import backlog, limited_connections
from ism_ros.server.logs import set_up_logs
from ism_ros.server.ray_cluster import check_installed
from ism_ros.server.settings import server_settings

GRACE_S = 30


def run(uvicorn: Any) -> None:
    """Serves until SIGINT or SIGTERM, then finishes what was accepted. Raises SettingsError before anything starts."""
    server = server_settings()
    if server.engine == "ray":
        check_installed()
    try:
        set_up_logs(server.log_level, server.log_format, server.log_file, server.log_file_size)
    except OSError as error:
        raise SettingsError(f"ISM_LOG_FILE {server.log_file} cannot be written: {error.strerror}") from None
    uvicorn.run(
        create_app(server=server),
        host=server.host,
        port=server.port,
        http=limited_connections(server.max_connections, server.upload_timeout_s),
        backlog=backlog(),
        proxy_headers=bool(server.trusted_proxies),
        forwarded_allow_ips=server.trusted_proxies,
        log_config=None,
        access_log=False,  # the app logs each answer itself, with its request's id
        timeout_graceful_shutdown=GRACE_S,
        ws_max_size=server.max_upload,
        ws_max_queue=2,  # only the newest frame counts
        ws_per_message_deflate=False,  # pictures are compressed, and unpacking would hold up everybody else
    )
