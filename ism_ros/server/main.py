"""Starts uvicorn with the app."""

from __future__ import annotations

import logging
from typing import Any

from ism_ros.server.app import create_app
from ism_ros.server.settings import server_settings

GRACE_S = 30


def run(uvicorn: Any) -> None:
    """Serves until SIGINT or SIGTERM, then finishes what was accepted. Raises SettingsError before anything starts."""
    server = server_settings()
    logging.basicConfig(level=server.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    uvicorn.run(
        create_app(server=server),
        host=server.host,
        port=server.port,
        log_level=server.log_level,
        timeout_graceful_shutdown=GRACE_S,
    )
