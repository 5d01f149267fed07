"""Filters that pass a message on only when it brings something new."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from .simple_filter import SimpleFilter

FieldGetter = Callable[[Any], Any]


class ComparisonHandler(ABC):
    """Decides which messages pass."""

    @abstractmethod
    def message_fits(self, message: Any) -> bool:
        """Whether a message passes."""

    def do_fields_fit(self, field_a: Any, field_b: Any) -> bool:
        """Whether the old and the new value of one field let the message pass."""
        raise NotImplementedError


class CachedComparisonHandler(ComparisonHandler):
    """Compares fields with those of the last message that passed; one field that fits is enough."""

    _field_getters: Sequence[FieldGetter] = ()

    def __init__(self) -> None:
        super().__init__()
        self._message_cache: Any = None

    def message_fits(self, message: Any) -> bool:
        """Whether a message passes; the first one always does."""
        fits = self._message_cache is None or any(
            self.do_fields_fit(get(self._message_cache), get(message)) for get in self._field_getters
        )
        if fits:
            self._message_cache = message
        return fits

    def do_fields_fit(self, field_a: Any, field_b: Any) -> bool:
        """Whether the old and the new value of one field let the message pass."""
        raise NotImplementedError(f"{type(self).__name__} does not say how fields are compared (do_fields_fit)")


class DeltaCompare(CachedComparisonHandler):
    """Lets a message pass when any of its fields has changed."""

    _basic_types = (bool, int, float, str)

    def __init__(self, field_getters: Sequence[FieldGetter]) -> None:
        """Each getter takes a message and returns a bool, int, float or str."""
        super().__init__()
        self._field_getters = field_getters

    def do_fields_fit(self, field_a: Any, field_b: Any) -> bool:
        """Whether two values differ; TypeError when they are not plain values."""
        if not isinstance(field_a, self._basic_types) or not isinstance(field_b, self._basic_types):
            raise TypeError(f"only plain values can be compared, not {type(field_a)} and {type(field_b)}")
        return bool(field_a != field_b)


class ComparisonFilter(SimpleFilter):
    """Passes on the messages for which a handler says so."""

    def __init__(self, comparison_handler: ComparisonHandler, message_filter: SimpleFilter | None = None) -> None:
        super().__init__()
        self._comparison_handler = comparison_handler
        self.incoming_connection: int | None = None
        self.connectInput(message_filter)

    def connectInput(self, message_filter: SimpleFilter | None) -> None:  # noqa: N802
        """Take messages from `message_filter`; RuntimeError when there is an input already."""
        if self.incoming_connection is not None:
            raise RuntimeError("This filter has an input already")
        if message_filter is not None:
            self.incoming_connection = message_filter.registerCallback(self.add)

    def add(self, message: Any) -> None:
        """Pass one message on, or not."""
        if self.message_fits(message):
            self.signalMessage(message)

    def message_fits(self, message: Any) -> bool:
        """What the handler says."""
        return self._comparison_handler.message_fits(message)


class DeltaFilter(ComparisonFilter):
    """Passes on the messages in which a field has changed."""

    def __init__(self, field_getters: Sequence[FieldGetter], message_filter: SimpleFilter | None = None) -> None:
        super().__init__(DeltaCompare(field_getters), message_filter)


class PathDeltaFilter(DeltaFilter):
    """Passes on the messages in which a field has changed; fields are named as `a.b.c`."""

    def __init__(self, field_path_list: Sequence[str], message_filter: SimpleFilter | None = None) -> None:
        getters = [partial(self.get_field_by_path, field_path=path) for path in field_path_list]
        super().__init__(getters, message_filter)

    def get_field_by_path(self, message: Any, field_path: str) -> Any:
        """The value at a path; RuntimeError when there is none."""
        value = message
        for name in field_path.split("."):
            owner, value = value, getattr(value, name, None)
            if value is None:
                raise RuntimeError(f"{type(owner).__name__} has no field {name!r} (in {field_path!r})")
        return value
