"""Registries of entries by name: of this package, of others by entry points, or anywhere as `module:attr`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from ism_ros.errors import first_line

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Entries of one kind by name, imported when they are first used.

    A name is looked up in the entries of this package, then in the entry points of installed packages; a name of the
    form `module:attr` is imported.

    Attributes:
        kind: Kind of the entries, for error texts, such as "segmentor".
        group: Group of entry points of other packages.
    """

    def __init__(self, kind: str, entry_type: type[Entry], group: str, builtin: dict[str, str]) -> None:
        """Make a registry.

        Args:
            kind: Kind of the entries, for error texts, such as "segmentor".
            entry_type: Class of which every entry is an instance.
            group: Group of entry points of other packages.
            builtin: `module:attr` of each entry that comes with this package, by name.
        """
        self.kind = kind
        self.group = group
        self._entry_type = entry_type
        self._builtin = builtin

    def __iter__(self) -> Iterator[str]:
        """Yield the names that can be chosen."""
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        """Check whether this is one of `names`; no `module:attr` is, so that untrusted input can be checked by this."""
        return name in self.names

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the entries of this package, then of those of other installed packages."""
        return (*self._builtin, *(name for name in self._installed if name not in self._builtin))

    def get(self, name: str) -> Entry:
        """Return an entry.

        Args:
            name: One of `names`, or `module:attr`.

        Returns:
            The entry.

        Raises:
            ValueError: There is none of this name, or it cannot be imported; the message is one line that lists the
                names there are.
        """
        if name in self._builtin:
            return self._import(name, self._builtin[name])
        if name in self._installed:
            return self._import(name, self._installed[name])
        if ":" in name:
            return self._import(name, name)
        raise ValueError(
            f"{self.kind} '{name}' is unknown; choose one of: {', '.join(self.names)}, or module:attr of your own"
        )

    @cached_property
    def _installed(self) -> dict[str, str]:
        return {entry.name: entry.value for entry in entry_points(group=self.group)}

    def _import(self, name: str, location: str) -> Entry:
        module, _, attribute = location.partition(":")
        try:
            entry: Any = import_module(module)
            for part in attribute.split("."):
                entry = getattr(entry, part)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(f"{self.kind} '{name}' cannot be imported: {first_line(error)}") from error
        if not isinstance(entry, self._entry_type):
            raise ValueError(
                f"{self.kind} '{name}' is a {type(entry).__name__}; it must be a {self._entry_type.__name__} "
                f"({self._entry_type.__module__})"
            )
        return entry
