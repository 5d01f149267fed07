"""Progress of loading and onboarding, for /diagnostics and the log."""

from __future__ import annotations

from ism_ros.node.event_log import Logger

LOGGED_TEMPLATES = 14
"""Number of rendered templates between two log lines."""


class Progress:
    """The one step that is going on; may be set from any thread.

    Attributes:
        text: What is going on, empty if nothing.
    """

    def __init__(self, logger: Logger) -> None:
        """Start with nothing going on.

        Args:
            logger: Receives each step once, and templates now and then.
        """
        self._logger = logger
        self.text = ""

    def show(self, text: str) -> None:
        """Show a step and log it."""
        self.text = text
        self._logger.info(text)

    def show_templates(self, label: str, done: int, total: int) -> None:
        """Show how many templates of an object are rendered; log every LOGGED_TEMPLATES-th.

        Args:
            label: The step that they belong to.
            done: Number of rendered templates.
            total: Number of all templates.
        """
        self.text = f"{label}, template {done} of {total}"
        if done % LOGGED_TEMPLATES == 0:
            self._logger.info(self.text)

    def clear(self) -> None:
        """Show that nothing is going on."""
        self.text = ""
