"""Loading of the models and the objects, with progress, until it is done or the node is to end."""

from __future__ import annotations

import time

from ism_ros.config.settings import check_depth
from ism_ros.loading import load_model
from ism_ros.model import InstanceSegmentationModel
from ism_ros.node.context import NodeContext
from ism_ros.node.services.object_services import ObjectServices


class LoadingStoppedError(Exception):
    """Raised while loading where the node is to end."""


class ModelLoader:
    """Loads what the settings name."""

    def __init__(self, context: NodeContext, objects: ObjectServices) -> None:
        """Keep what loading needs.

        Args:
            context: The settings and the progress.
            objects: Knows which objects to load.
        """
        self._context = context
        self._objects = objects

    def load(self) -> InstanceSegmentationModel:
        """Load segmentor and descriptor and onboard the objects.

        Raises:
            LoadingStoppedError: The node is to end.
            TemplateProcessStoppedError: The same, while templates were rendered.
            ValueError: Something cannot be used; the text is one line that says what to do.
            OSError: A file cannot be read.
        """
        began_s = time.monotonic()
        settings = self._context.settings()
        check_depth(settings)
        specs = self._objects.open()
        model = load_model(settings, self._show, specs, self._objects.prepare, self._show_templates)
        self._context.progress.clear()
        self._context.logger.info(f"{len(model.library)} objects ready after {time.monotonic() - began_s:.1f} s")
        self._objects.report_loaded(model.library)
        return model

    def _show(self, step: str) -> None:
        self._check_stopping()
        self._context.progress.show(step)

    def _show_templates(self, step: str, done: int, total: int) -> None:
        self._check_stopping()
        self._context.progress.show_templates(step, done, total)

    def _check_stopping(self) -> None:
        if self._context.stopping.is_set():
            raise LoadingStoppedError
