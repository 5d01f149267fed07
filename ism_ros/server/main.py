"""Starts uvicorn with the app."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from ism_ros.config.settings import SettingsError
from ism_ros.server.app import create_app
from ism_ros.server.backends.ray_cluster import check_installed
from ism_ros.server.middleware.connection_limits import backlog, limited_connections
from ism_ros.server.request_logging import set_up_logs
from ism_ros.server.settings import doubts, server_settings

GRACE_S = 30

logger = logging.getLogger(__name__)


def run(uvicorn: Any) -> None:
    """Serves until SIGINT or SIGTERM, then finishes what was accepted. Raises SettingsError before anything starts."""
    server = server_settings()
    if server.engine == "ray":
        check_installed()
    try:
        set_up_logs(server.log_level, server.log_format, server.log_file, server.log_file_size)
    except OSError as error:
        raise SettingsError(f"ISM_LOG_FILE {server.log_file} cannot be written: {error.strerror}") from None
    for text in doubts():
        logger.warning("%s", text)
    app = create_app(server=server)
    config = uvicorn.Config(
        app,
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
    )
    web_server = uvicorn.Server(config)

    def end() -> None:
        web_server.should_exit = True

    app.state.porch.on_give_up = end
    with contextlib.suppress(KeyboardInterrupt):
        web_server.run()
    if not web_server.started or app.state.porch.engine.has_given_up:
        raise SystemExit(1)  # what a person may have to mend; who watches over the process sees it
