"""Template folders rendered for clients, without keeping anything."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

from fastapi import UploadFile

from ism_ros.cad.colors import Rgb
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_process import TemplateProcess
from ism_ros.server.errors import RequestError
from ism_ros.server.requests.object_uploads import cad_suffix, write_cad
from ism_ros.server.requests.template_archives import zip_folder

MAX_WAITING = 4
"""Renderings that may wait for each other; they need no model, only processors."""


class TemplateRenderer:
    """Renders one CAD file after the other; thread-safe."""

    def __init__(self, template_builder: TemplateProcess) -> None:
        """Initialize.

        Args:
            template_builder: Renders templates.
        """
        self._template_builder = template_builder
        self._places = threading.BoundedSemaphore(MAX_WAITING)
        self._lock = threading.Lock()

    def render(self, cad: UploadFile, units: str, color: Rgb | None = None) -> bytes:
        """Render the template folder of a CAD file.

        Args:
            cad: The upload.
            units: Its units.
            color: The one color of the model, or None.

        Returns:
            The bytes of a zip.

        Raises:
            RequestError: 400 where the file cannot be used, 429 where too many wait, 507 for a full disk.
        """
        suffix = cad_suffix(cad)
        if not self._places.acquire(blocking=False):
            raise RequestError(429, f"{MAX_WAITING} CAD files are being rendered already: try again later", 5)
        try:
            with tempfile.TemporaryDirectory(prefix="ism_render_") as name:
                folder = Path(name)
                file, templates = folder / f"model{suffix}", folder / "templates"
                write_cad(cad, file)
                with self._lock:
                    self._render(ObjectSpec("model", file, units, color=color, root=folder), templates)
                if not templates.is_dir():
                    raise RequestError(507, "the templates could not be written: the server's disk is full")
                return zip_folder(templates)
        finally:
            self._places.release()

    def _render(self, spec: ObjectSpec, templates: Path) -> None:
        try:
            self._template_builder(spec, templates)
        except (ValueError, RuntimeError) as error:
            raise RequestError(400, str(error).replace(f"{templates.parent}/", "")) from None
