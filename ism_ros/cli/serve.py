"""`ism serve`: the same models over HTTP."""

from __future__ import annotations

import logging
import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from ism_ros.cli import options

NEEDED_MODULES = ("cachetools", "fastapi", "fastapi_offline", "prometheus_client", "uvicorn", "websockets")
"""Modules that the extra `server` installs."""

logger = logging.getLogger(__name__)


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen at; 0.0.0.0 = every network. Default 127.0.0.1.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen at. Default 8002.")] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder that paths in requests may lie in. Default: this one.")
    ] = None,
    objects: Annotated[Path | None, typer.Option(help="objects.yaml, the objects to know from the start.")] = None,
    profile: options.Profile = None,
    segmentor: options.Segmentor = None,
    descriptor: options.Descriptor = None,
    device: options.Device = None,
    backend: Annotated[
        str | None,
        typer.Option(help="Where models run: local (processes of this server) or ray (Ray Serve). Default local."),
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(help="With --backend ray: number of models, each with its share of a device.")
    ] = None,
    engine: Annotated[str | None, typer.Option(hidden=True, help="Older name of --backend.")] = None,
) -> None:
    """Answer over HTTP: an API at /api/v1, its description at /docs.

    Every setting can also be an environment variable: ISM_SERVER_PORT, ISM_SEGMENTOR, ISM_OBJECTS_FILE, ...

    [bold]Example:[/bold] ism serve --objects objects.yaml
    """
    if engine is not None:
        logger.warning("--engine is called --backend now: use that name")
    given = {
        "ISM_SERVER_HOST": host,
        "ISM_SERVER_PORT": port,
        "ISM_DATA_ROOT": data_root,
        "ISM_OBJECTS_FILE": objects,
        "ISM_PROFILE": profile,
        "ISM_SEGMENTOR": segmentor,
        "ISM_DESCRIPTOR": descriptor,
        "ISM_DEVICE": device,
        "ISM_BACKEND": engine if backend is None else backend,
        "ISM_REPLICAS": replicas,
    }
    # the app reads its settings from the environment, in whichever process it runs
    os.environ.update({name: str(value) for name, value in given.items() if value is not None})
    if missing := [name for name in NEEDED_MODULES if find_spec(name) is None]:
        raise ValueError(f"ism serve needs {', '.join(missing)}: pip install 'ism_ros[server]'")
    import uvicorn

    # by name, as uvicorn itself would: one interface does not import another
    import_module("ism_ros.server.main").run(uvicorn)
