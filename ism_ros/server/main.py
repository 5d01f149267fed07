"""The program: uvicorn with the app."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from ism_ros.config.settings import SettingsError
from ism_ros.server.app import create_app
from ism_ros.server.backends.ray_cluster import check_installed
from ism_ros.server.middleware.connection_limits import backlog, limited_connections
from ism_ros.server.request_logging import configure_logging
from ism_ros.server.settings import environment_warnings, read_server_settings

GRACE_S = 30
"""Longest that uvicorn waits for open connections when the server ends, seconds."""

logger = logging.getLogger(__name__)


def run(uvicorn: Any) -> None:
    """Serve until SIGINT or SIGTERM, then finish what was accepted.

    Args:
        uvicorn: The module, which the caller has checked for.

    Raises:
        SettingsError: A setting cannot be used; nothing was started.
        SystemExit: 1 where the server could not start, or its models could not be loaded in all tries.
    """
    server = read_server_settings()
    if server.backend == "ray":
        check_installed()
    try:
        configure_logging(server.log_level, server.log_format, server.log_file, server.log_file_size)
    except OSError as error:
        raise SettingsError(f"ISM_LOG_FILE {server.log_file} cannot be written: {error.strerror}") from None
    for text in environment_warnings():
        logger.warning("%s", text)

    def end() -> None:
        web_server.should_exit = True

    app = create_app(server=server, on_give_up=end)
    config = uvicorn.Config(
        app,
        host=server.host,
        port=server.port,
        http=limited_connections(server.max_connections, server.upload_timeout_s),
        backlog=backlog(),
        proxy_headers=bool(server.trusted_proxies),
        forwarded_allow_ips=server.trusted_proxies,
        log_config=None,
        access_log=False,  # the app logs each response itself, with its request's id
        timeout_graceful_shutdown=GRACE_S,
        ws_max_size=server.max_upload,
        ws_max_queue=2,  # only the newest frame counts
    )
    web_server = uvicorn.Server(config)
    with contextlib.suppress(KeyboardInterrupt):
        web_server.run()
    if not web_server.started or app.state.context.queue.has_given_up:
        raise SystemExit(1)  # what a person may have to mend; what supervises the process sees it
