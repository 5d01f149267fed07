"""Names under which the server may be asked.

A page whose name DNS points here has the browser send that name. An address cannot be pointed elsewhere, so that one
is as good as the name of this machine.
"""

from __future__ import annotations

import ipaddress
import re
import socket

LOOPBACK_NAMES = ("localhost",)
"""Names of this machine's loopback."""
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^:\[\]/?#@\s]+)(?::\d{1,5})?")


class AllowedHosts:
    """Names and addresses in the Host header of requests that are served."""

    def __init__(self, configured: str, bound_to: str) -> None:
        """Initialize.

        Args:
            configured: Names, separated by commas; `*.example.com` stands for all names below it, `*` for any.
            bound_to: Where the server listens. On this machine alone it may be asked under names of this machine's
                loopback, else also under any address and the machine's own name.
        """
        given = {name.strip().lower().rstrip(".") for name in configured.split(",") if name.strip()}
        self._any = "*" in given
        self._suffixes = tuple(name[1:] for name in given if name.startswith("*."))
        self._names = {*LOOPBACK_NAMES, *given, bound_to.strip("[]").lower()}
        self._on_loopback = _is_loopback(bound_to)
        if not self._on_loopback:
            own = socket.gethostname().lower()
            self._names |= {own, f"{own}.local"}

    def allows(self, header: str | None) -> bool:
        """Return whether a Host header names this server.

        Args:
            header: The header. Browsers always send one, programs that speak HTTP/1.0 may not: None is allowed.
        """
        if header is None or self._any:
            return True
        found = _HOST.fullmatch(header.strip())
        if found is None:
            return False
        name = found["name"].strip("[]").lower().rstrip(".")
        address = _address(name)
        if address is not None and (address.is_loopback or not self._on_loopback):
            return True
        return name in self._names or name.endswith(self._suffixes)


def _is_loopback(host: str) -> bool:
    address = _address(host.strip("[]"))
    return host.lower() in LOOPBACK_NAMES if address is None else address.is_loopback


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
