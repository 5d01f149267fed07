"""Who may send requests: no pages of other sites, only under the server's own names, with the key, within the rate."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from cachetools import LRUCache
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from ism_ros.server.error_responses import error_response
from ism_ros.server.errors import RequestError
from ism_ros.server.middleware.allowed_hosts import AllowedHosts
from ism_ros.server.middleware.rate_limit import RateLimit
from ism_ros.server.settings import ServerSettings

PROBE_PATHS = ("/health", "/ready")
"""Paths that are served without a key and under any name: probes have none."""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""Methods that pages of other sites may use, as browsers do not show them the response."""
WRONG_KEYS_A_MINUTE = 30
"""Wrong keys of one address, at most: enough for a person who types, too few for a program that guesses."""
MAX_ADDRESSES = 10_000
"""Addresses that have shown the right key and are remembered."""
NO_KEY = "the API key is missing or wrong: send it as X-API-Key"
"""Message for requests without the key."""
OTHER_SITE = "a page of another site may not send this: use the page of this server; a proxy must pass Host on"
"""Message for requests of other sites' pages."""


class AccessControl:
    """Decides whether a request is served. Not thread-safe."""

    def __init__(self, server: ServerSettings) -> None:
        """Initialize.

        Args:
            server: Key, names and rates.
        """
        self._server = server
        self._hosts = AllowedHosts(server.allowed_hosts, server.host)
        self._rate = RateLimit(server.rate_limit)
        self._wrong_keys = RateLimit(WRONG_KEYS_A_MINUTE)
        self._known_addresses: LRUCache[str, bool] = LRUCache(MAX_ADDRESSES)

    def check_client(self, connection: HTTPConnection, is_safe: bool = False, needs_key: bool = True) -> None:
        """Check site, name and key of a request.

        Args:
            connection: The request, or the opening one of a WebSocket.
            is_safe: Pages of other sites may send it, as they are shown nothing of the response.
            needs_key: The key is asked for, if the server has one.

        Raises:
            RequestError: 403 for a page of another site or a name that is not the server's, 401 or 429 for the key.
        """
        if not is_safe and is_from_another_site(connection):
            raise RequestError(403, OTHER_SITE)
        if self._server.api_key and needs_key and not _key_of(connection):
            raise RequestError(401, NO_KEY)  # no guess, as a page of another site may have it sent from anywhere
        host = connection.headers.get("host")
        if not self._hosts.allows(host):
            shown = (host or "")[:100]
            raise RequestError(403, f"the host {shown!r} is none of this server's: add its name to ISM_ALLOWED_HOSTS")
        if needs_key:
            self._check_key(connection)

    def check_rate(self, connection: HTTPConnection, requests: int = 1) -> None:
        """Count requests of a client, known by its key, or by its address where there are no keys.

        Args:
            connection: The request.
            requests: How many it counts as.

        Raises:
            RequestError: 429 where they come too often.
        """
        client = hashlib.sha256(_key_of(connection)).hexdigest() if self._server.api_key else _address_of(connection)
        if wait_s := self._rate.wait_s(client, requests):
            raise RequestError(429, f"more than {self._server.rate_limit} requests a minute: wait {wait_s} s", wait_s)

    def check_batch(self, connection: HTTPConnection, frames: int) -> None:
        """Count the frames of a batch beyond the first, which the request itself was.

        Args:
            connection: The request.
            frames: Frames in the batch.

        Raises:
            RequestError: 429 where they are too many.
        """
        limit = self._server.rate_limit
        if limit and frames > limit:
            raise RequestError(429, f"a batch of {frames} is more than {limit} requests a minute: send fewer at once")
        if frames > 1:
            self.check_rate(connection, frames - 1)

    def _check_key(self, connection: HTTPConnection) -> None:
        """Raise 401 for a wrong key, and 429 after too many, unless the address has shown the right one before."""
        key = self._server.api_key.encode()
        if not key:
            return
        address, given = _address_of(connection), _key_of(connection)
        wait_s = 0 if self._known_addresses.get(address) else self._wrong_keys.wait_s(address, cost=0)
        if not wait_s and hmac.compare_digest(given, key):
            self._known_addresses[address] = True
            return
        if wait_s := wait_s or self._wrong_keys.wait_s(address):
            raise RequestError(429, f"too many wrong API keys came from {address}: wait {wait_s} s", wait_s)
        raise RequestError(401, NO_KEY)


class AccessMiddleware:
    """ASGI middleware: refuses requests that `AccessControl` does not let pass; WebSocket routes check themselves."""

    def __init__(self, app: ASGIApp, access: AccessControl, is_public: Callable[[str], bool]) -> None:
        """Initialize.

        Args:
            app: The app inside of it.
            access: What is checked.
            is_public: Whether a path is served without key and rate limit.
        """
        self._app = app
        self._access = access
        self._is_public = is_public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            try:
                self._check(HTTPConnection(scope))
            except RequestError as error:
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, request: HTTPConnection) -> None:
        path = request.scope["path"]  # that of request.url comes out of the Host header as well, in some Starlettes
        if path in PROBE_PATHS:
            return
        is_public = self._is_public(path)
        self._access.check_client(request, request.scope["method"] in SAFE_METHODS, needs_key=not is_public)
        if not is_public:
            self._access.check_rate(request)


def is_from_another_site(connection: HTTPConnection) -> bool:
    """Return whether a browser sends a request for a page of another site, which may be anybody's.

    A server that listens to this machine alone is in reach of every page that is opened here.

    Args:
        connection: The request.
    """
    if site := connection.headers.get("sec-fetch-site"):
        return site not in ("same-origin", "none")
    origin = connection.headers.get("origin")  # all that browsers say to a server without TLS elsewhere
    return origin is not None and origin.partition("://")[2] != connection.headers.get("host")


def _address_of(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client is not None else ""


def _key_of(connection: HTTPConnection) -> bytes:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    given = connection.headers.get("x-api-key") or (token.strip() if scheme.lower() == "bearer" else scheme)
    return given.encode("latin-1")  # the bytes that the client sent, whatever characters they are
