"""Settings of the server alone; those of models and objects are in `ism_ros.config.settings`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ism_ros.config.paths import default_server_dir
from ism_ros.config.settings import Settings, SettingsError
from ism_ros.config.sources import load_settings
from ism_ros.objects.template_process import Limits
from ism_ros.server.request_logging import LogFormat

OLDER_NAMES = {"ISM_MODEL_TYPE": "segmentor", "ISM_STABILITY_THRESHOLD": "stability_score_threshold"}
"""Environment variables of earlier ISM servers, and the model setting that each of them is now; today's name wins."""

OLDER_SERVER_NAMES = {"ISM_ENGINE": "backend"}
"""Older environment variables, and the server setting that each of them is now; today's name wins."""

SETTINGS_FILE = "ism.yaml"
"""File with model settings that is read from ISM_CONFIG_DIR where it is there."""

_SERVICE_LINK = re.compile(r"ISM_\w*(_SERVICE_(HOST|PORT)(_\w+)?|_PORT_\d+_\w+)")
"""Variables that Kubernetes sets in each pod for a service of the name ism-..."""

_MB, _GB = 1 << 20, 1 << 30
_UNITS = {"": _MB, "B": 1, "KB": 1 << 10, "MB": _MB, "GB": _GB}


def _bytes(value: object) -> object:
    """Read a size such as '512MB' or '2 GB'; a bare number counts megabytes."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?B)?\s*", str(value), re.IGNORECASE)
    if found is None:
        raise ValueError("expected a size such as 512MB or 2GB")
    return int(float(found[1]) * _UNITS[(found[2] or "").upper()])


Bytes = Annotated[int, BeforeValidator(_bytes)]
"""Size in bytes, which may be written as '512MB'."""


class ServerSettings(BaseModel):
    """Settings of the server; each says what it means in its description.

    The environment variable of a setting is ISM_ and its name in capitals, ISM_SERVER_HOST and ISM_SERVER_PORT for
    those two.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen at; 0.0.0.0 = every network of this machine.")
    port: int = Field(8002, ge=0, le=65535, description="Port to listen at; 0 = any that is free.")
    allowed_hosts: str = Field(
        "",
        description="Names under which the server may be asked, separated by commas, further than this machine's; "
        "*.example.com = all below it, * = any.",
    )
    trusted_proxies: str = Field(
        "",
        description="Addresses or networks of proxies whose X-Forwarded-For is believed, separated by commas.",
    )
    max_connections: int = Field(
        512, ge=1, le=100_000, description="Open at once; fewer where the system gives few descriptors."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged.")
    log_format: LogFormat = Field("human", description="Lines for people, or one JSON object a line.")
    log_file: str = Field("", description="File for the log; empty = stderr.")
    log_file_size: Bytes = Field(16 * _MB, description="The log file is put aside at this size; five of them are kept.")
    data_root: str = Field(
        ".",
        description="Folders that paths of requests may lie in, separated as in PATH; relative paths start at the "
        "first.",
    )
    template_dir: str = Field("", description="Template folder of requests that name none.")
    cad_model_path: str = Field("", description="CAD file of requests that name none.")
    max_cache_size: Bytes = Field(_GB, description="Memory for objects that requests name by path.")
    preload_templates: bool = Field(False, description="Load template_dir and cad_model_path at start.")
    state_dir: str = Field(
        "", description="Folder for uploaded objects and their jobs; empty = $XDG_DATA_HOME/ism_ros/server."
    )
    devices: str = Field(
        "", description="Devices that share the requests, such as cuda:0,cuda:1; a model each. Empty = ISM_DEVICE."
    )
    backend: Literal["local", "ray"] = Field(
        "local", description="Where models run: in processes of this server, or in replicas on Ray Serve."
    )
    replicas: int = Field(1, ge=1, le=1024, description="Models on Ray Serve, each with an equal share of a device.")
    ray_address: str = Field(
        "", description="Ray to use, host:port, or auto for that of this machine. Empty = one of the server's own."
    )
    batch_size: int = Field(4, ge=1, le=64, description="Waiting requests that a model is given at once, at most.")
    result_cache: Bytes = Field(0, description="Memory for responses that identical requests get again; 0 = none.")
    max_disk_cache: Bytes = Field(
        20 * _GB, description="Disk for templates and descriptors; the least recently used go."
    )
    rate_limit: int = Field(
        0, ge=0, description="Requests (each frame of a batch or stream is one) a minute of a key or address; 0 = any."
    )
    max_waiting: int = Field(16, ge=1, le=10_000, description="Requests that may wait; more get 429.")
    load_attempts: int = Field(
        6, ge=0, le=10_000, description="Tries to load the models before the server ends with code 1; 0 = no end."
    )
    timeout_s: float = Field(60.0, gt=0, le=86_400, description="Longest that a request may take, seconds.")
    max_upload: Bytes = Field(64 * _MB, description="Largest request body.")
    upload_timeout_s: float = Field(
        60.0, gt=0, le=86_400, description="Longest that the body of a request may take to arrive, seconds."
    )
    max_unzipped: Bytes = Field(512 * _MB, description="Largest contents of an uploaded zip.")
    max_triangles: int = Field(2_000_000, ge=1, description="Most triangles of a mesh.")
    max_preparation_memory: Bytes = Field(6 * _GB, description="Memory for reading and rendering one CAD file.")
    max_pixels: int = Field(16_000_000, ge=1, description="Largest image, pixels.")
    visualization: bool = Field(False, description="Send the overlay where a request does not say.")
    api_key: str = Field("", description="Key that requests must carry as X-API-Key or bearer token; empty = none.")

    def preparation_limits(self) -> Limits:
        """Return the limits of CAD files that clients send or name."""
        return Limits(self.max_triangles, self.max_preparation_memory)

    def device_list(self) -> tuple[str, ...]:
        """Return the devices that share the requests; empty = the one of the model settings."""
        return tuple(device.strip() for device in self.devices.split(",") if device.strip())

    def state_folder(self) -> Path:
        """Return the folder of uploaded objects and jobs."""
        if self.state_dir:
            return Path(self.state_dir).expanduser().absolute()
        return default_server_dir()


def read_server_settings(environment: Mapping[str, str] | None = None) -> ServerSettings:
    """Read the server's settings from environment variables; an empty one counts as not set.

    Args:
        environment: The variables; None = those of this process.

    Returns:
        The settings.

    Raises:
        SettingsError: A value cannot be used; the message is one line that names the variable.
    """
    environment = os.environ if environment is None else environment
    variables = {**OLDER_SERVER_NAMES, **{variable_of(name): name for name in ServerSettings.model_fields}}
    values: dict[str, Any] = {}
    read_from: dict[str, str] = {}
    for variable, name in variables.items():  # the older names first, so that today's win
        text = environment.get(variable, "").strip()
        if text and not _is_service_link(name, text):
            values[name] = text.lower() if name in ("log_level", "log_format", "backend") else text
            read_from[name] = variable
    try:
        return _checked(ServerSettings(**values))
    except ValidationError as error:
        first = error.errors()[0]
        variable = read_from[str(first["loc"][0])]
        raise SettingsError(f"{variable} cannot be '{first['input']}': {first['msg'].lower()}") from None


def environment_warnings(environment: Mapping[str, str] | None = None) -> list[str]:
    """Find variables that nothing reads, that have another name now, or that meant something else to earlier servers.

    Args:
        environment: The variables; None = those of this process.

    Returns:
        A sentence each.
    """
    environment = os.environ if environment is None else environment
    found = _unknown_variables(environment)
    for name, setting in OLDER_SERVER_NAMES.items():
        if environment.get(name, "").strip():
            found.append(f"{name} is called {variable_of(setting)} now: use that name")
    size = environment.get("ISM_MAX_CACHE_SIZE", "").strip()
    if size.replace(".", "", 1).isdigit():
        found.append(
            f"ISM_MAX_CACHE_SIZE={size} is read as {size} MB of memory, where earlier ISM servers counted objects: "
            f"write {size}MB where that is meant, or leave it out for 1GB"
        )
    if _is_service_link("port", environment.get("ISM_SERVER_PORT", "")):
        found.append(
            "ISM_SERVER_PORT is what Kubernetes tells of a service called ism-server, and is not read: set "
            "enableServiceLinks: false, or the port"
        )
    return found


def known_variables() -> set[str]:
    """Return all environment variables that the server reads, today's names and older ones."""
    models = (f"ISM_{name.upper()}" for name in Settings.model_fields)
    server = map(variable_of, ServerSettings.model_fields)
    return {"ISM_CONFIG_DIR", *OLDER_NAMES, *OLDER_SERVER_NAMES, *models, *server}


def _unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Name ISM_* variables that nothing reads, each with what may have been meant."""
    known = sorted(known_variables() - OLDER_SERVER_NAMES.keys())
    found = []
    for name in sorted(environment):
        if not name.startswith("ISM_") or name in known or name in OLDER_SERVER_NAMES or _SERVICE_LINK.fullmatch(name):
            continue
        words = set(name.split("_"))
        near = get_close_matches(name, known, 1, 0.75) or [other for other in known if words < set(other.split("_"))]
        meant = f"did you mean {near[0]}?" if near else "docs/server.md has those that are: leave it out"
        found.append(f"{name} is no setting and is not read: {meant}")
    return found


def _is_service_link(name: str, text: str) -> bool:
    """Return whether Kubernetes set a variable, for a service whose name happens to make it that of a setting."""
    return name == "port" and text.startswith(("tcp://", "udp://"))


def _checked(server: ServerSettings) -> ServerSettings:
    """Raise SettingsError where two settings do not go together, or a folder is not there."""
    if server.backend == "ray" and server.devices:
        raise SettingsError("ISM_DEVICES is for the backend 'local', Ray shares devices out itself: leave it out")
    if server.backend == "local" and server.replicas != 1:
        raise SettingsError("ISM_REPLICAS (--replicas) is for the backend 'ray': add --backend ray, or leave it out")
    for folder in server.data_root.split(os.pathsep):
        if not Path(folder).expanduser().is_dir():
            raise SettingsError(f"ISM_DATA_ROOT (--data-root): '{folder}' is no folder: create it, or name another")
    return server


def variable_of(name: str) -> str:
    """Return the environment variable of a server setting.

    Args:
        name: A field of `ServerSettings`.
    """
    return f"ISM_SERVER_{name.upper()}" if name in ("host", "port") else f"ISM_{name.upper()}"


def read_model_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of models and objects from ISM_CONFIG_DIR/ism.yaml and the environment, older names included.

    Args:
        environment: The variables; None = those of this process.

    Returns:
        The settings.

    Raises:
        SettingsError: A value cannot be used; the message is one line that names it.
    """
    environment = os.environ if environment is None else environment
    older = {
        f"ISM_{setting.upper()}": environment[name] for name, setting in OLDER_NAMES.items() if environment.get(name)
    }
    file: Path | None = None
    if folder := environment.get("ISM_CONFIG_DIR"):
        if not Path(folder).is_dir():
            raise SettingsError(f"ISM_CONFIG_DIR {folder} is no folder: create it, or leave the variable out")
        if (Path(folder) / SETTINGS_FILE).is_file():
            file = Path(folder) / SETTINGS_FILE
    return load_settings(file, environment={**older, **environment})
