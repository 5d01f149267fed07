"""Filters one after another, as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .simple_filter import SimpleFilter


class Chain(SimpleFilter):
    """Sends its input through a growing row of filters; its output is that of the last one."""

    @dataclass
    class FilterInfo:
        """A filter of the row and the number of the connection that takes its output further."""

        message_filter: Any
        connection_callback_index: int

    def __init__(self, message_filter: SimpleFilter | None = None) -> None:
        super().__init__()
        self.incoming_connection: int | None = None
        self._message_filters: dict[int, Chain.FilterInfo] = {}
        if message_filter is not None:
            self.connectInput(message_filter)

    def connectInput(self, message_filter: SimpleFilter) -> None:  # noqa: N802
        """Take messages from `message_filter`; RuntimeError when there is an input already."""
        if self.incoming_connection is not None:
            raise RuntimeError("Already connected")
        self.incoming_connection = message_filter.registerCallback(self.add)

    def add(self, message: Any) -> None:
        """Send a message through the row; with no filter in it, straight out."""
        if self._message_filters:
            self._message_filters[0].message_filter.add(message)
        else:
            self.signalMessage(message)

    def addFilter(self, message_filter: Any) -> None:  # noqa: N802
        """Append a filter to the row."""
        index = len(self._message_filters)
        if index > 0:
            last = self._message_filters[index - 1]
            last.message_filter.unregisterCallback(last.connection_callback_index)
            last.connection_callback_index = last.message_filter.registerCallback(message_filter.add)
        output = message_filter.registerCallback(self.signalMessage)
        self._message_filters[index] = Chain.FilterInfo(message_filter, output)

    def getFilter(self, index: int) -> Any:  # noqa: N802
        """The filter at a position of the row, from 0; KeyError beyond its end."""
        return self._message_filters[index].message_filter
