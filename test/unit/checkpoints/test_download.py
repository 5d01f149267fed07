"""Downloads from a real HTTP server on this machine that drops, lies, refuses and is not there."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

import pytest

from ism_ros.checkpoints.catalog import partial_path
from ism_ros.checkpoints.download import BLOCK_BYTES, DownloadError, download

CONTENT = Random(7).randbytes(40 * BLOCK_BYTES + 12_345)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
REPO = Path(__file__).parents[3]


@dataclass
class FileServer:
    """What a server does, and what it was asked.

    drops: after so many bytes each of the coming answers ends. statuses: answers that come before the file does.
    ranges: the Range header of every request, "" where there was none. held_back: the server stops after so many
    bytes of every answer until `released` is set.
    """

    content: bytes = CONTENT
    understands_ranges: bool = True
    announces_size: bool = True
    drops: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    held_back: int | None = None
    released: threading.Event = field(default_factory=threading.Event)
    ranges: list[str] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: FileServer

    def do_GET(self) -> None:
        state, asked = self.state, self.headers.get("Range", "")
        state.ranges.append(asked)
        self.close_connection = True
        if state.statuses:
            self.send_error(state.statuses.pop(0))
            return
        first = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and state.understands_ranges else 0
        if first and first >= len(state.content):
            self.send_error(416)
            return
        body = state.content[first:]
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(state.content) - 1}/{len(state.content)}")
        if state.announces_size:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if state.drops:
            body = body[: state.drops.pop(0)]
        if state.held_back is not None:
            self.wfile.write(body[: state.held_back])
            state.released.wait()
            body = body[state.held_back :]
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests read `ranges`."""


@pytest.fixture
def server() -> Iterator[FileServer]:
    state = FileServer()
    handler = type("BoundHandler", (Handler,), {"state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        state.url = f"http://127.0.0.1:{http.server_address[1]}/weights.pth"
        yield state
        state.released.set()
        http.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "a" / "folder" / "weights.pth"


@pytest.fixture
def fetch(server: FileServer, target: Path) -> Callable[[], None]:
    return lambda: download(server.url, target, len(CONTENT), SHA256, retry_wait_s=0.001)


def test_the_whole_file_comes_and_nothing_else_is_left(fetch: Callable[[], None], target: Path) -> None:
    fetch()
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


def test_progress_tells_bytes_fetched_and_then_checked(server: FileServer, target: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    download(server.url, target, None, SHA256, lambda *state: told.append(state))
    fetched = [done for doing, done, _ in told if doing == "fetching"]
    assert fetched == sorted(fetched)
    assert fetched[-1] == len(CONTENT)
    assert told[-1] == ("checking", len(CONTENT), len(CONTENT))
    assert {total for _, _, total in told} == {len(CONTENT)}


def test_a_dropped_connection_is_taken_up_where_it_ended(
    server: FileServer, fetch: Callable[[], None], target: Path
) -> None:
    server.drops = [3 * BLOCK_BYTES, 5 * BLOCK_BYTES]
    fetch()
    assert target.read_bytes() == CONTENT
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0 for asked in server.ranges]
    assert starts == [0, 3 * BLOCK_BYTES, 8 * BLOCK_BYTES]


def test_a_drop_is_seen_even_where_the_server_announces_no_size(
    server: FileServer, fetch: Callable[[], None], target: Path
) -> None:
    server.announces_size = False
    server.drops = [100]
    fetch()
    assert target.read_bytes() == CONTENT


def test_a_server_that_always_drops_is_given_up(server: FileServer, fetch: Callable[[], None], target: Path) -> None:
    server.drops = [BLOCK_BYTES] + [0] * 50
    with pytest.raises(DownloadError, match="drops the connection, 5 times in a row"):
        fetch()
    assert not target.exists()
    assert partial_path(target).read_bytes() == CONTENT[:BLOCK_BYTES]
    server.drops = []
    fetch()
    assert target.read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={BLOCK_BYTES}-"


def test_an_overloaded_server_is_asked_again(server: FileServer, fetch: Callable[[], None], target: Path) -> None:
    server.statuses = [503, 429]
    fetch()
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_sends_it_all_again(
    server: FileServer, fetch: Callable[[], None], target: Path
) -> None:
    server.understands_ranges = False
    server.drops = [BLOCK_BYTES]
    fetch()
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "said"), [(404, "404 Not Found"), (403, "403 Forbidden")])
def test_a_refusal_is_told_at_once(
    server: FileServer, fetch: Callable[[], None], target: Path, status: int, said: str
) -> None:
    server.statuses = [status]
    with pytest.raises(DownloadError, match=said):
        fetch()
    assert len(server.ranges) == 1
    assert list(target.parent.iterdir()) == []


def test_a_host_that_is_not_there_is_told(target: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        port = taken.getsockname()[1]
        with pytest.raises(DownloadError, match=rf"127\.0\.0\.1:{port} cannot be reached \(connection refused\)"):
            download(f"http://127.0.0.1:{port}/x", target)
    assert list(target.parent.iterdir()) == []


def test_a_file_of_another_size_is_refused_before_it_comes(
    server: FileServer, fetch: Callable[[], None], target: Path
) -> None:
    server.content = b"<html>please log in</html>"
    with pytest.raises(DownloadError, match=f"offers 26 bytes where {len(CONTENT)} are expected"):
        fetch()
    assert list(target.parent.iterdir()) == []


def test_what_has_come_outlives_a_login_page(server: FileServer, fetch: Callable[[], None], target: Path) -> None:
    target.parent.mkdir(parents=True)
    partial_path(target).write_bytes(CONTENT[:500])
    server.content, server.understands_ranges = b"<html>please log in</html>", False
    with pytest.raises(DownloadError, match="offers 26 bytes"):
        fetch()
    assert partial_path(target).read_bytes() == CONTENT[:500]


def test_a_wrong_file_of_the_right_size_keeps_nothing(
    server: FileServer, fetch: Callable[[], None], target: Path
) -> None:
    server.content = bytes(len(CONTENT))
    wrong = hashlib.sha256(server.content).hexdigest()
    with pytest.raises(DownloadError, match=f"has SHA-256 {wrong} instead of {SHA256}"):
        fetch()
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("stale", [b"x" * 1000, b"x" * (len(CONTENT) + 5), b"x" * len(CONTENT)])
def test_remains_of_another_file_do_not_spoil_it(fetch: Callable[[], None], target: Path, stale: bytes) -> None:
    target.parent.mkdir(parents=True)
    partial_path(target).write_bytes(stale)
    fetch()
    assert target.read_bytes() == CONTENT


def test_a_failed_download_leaves_the_older_file(server: FileServer, fetch: Callable[[], None], target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(b"older")
    server.content = bytes(len(CONTENT))
    with pytest.raises(DownloadError):
        fetch()
    assert target.read_bytes() == b"older"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_that_fills_up_is_told(fetch: Callable[[], None], target: Path) -> None:
    target.parent.mkdir(parents=True)
    partial_path(target).symlink_to("/dev/full")
    with pytest.raises(DownloadError, match=r"the disk is full: weights\.pth needs 0\.00 GB, and .* GB left"):
        fetch()
    assert not target.exists()


def test_a_file_larger_than_the_disk_is_not_begun(server: FileServer, target: Path) -> None:
    server.announces_size = False
    with pytest.raises(DownloadError, match="the disk is full"):
        download(server.url, target, 10**18, SHA256)
    assert list(target.parent.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match=r"file.* cannot be written: (File exists|Not a directory)"):
        download(server.url, tmp_path / "file" / "weights.pth")


def start_download(server: FileServer, target: Path) -> subprocess.Popen[bytes]:
    """Another process that downloads, once the server has sent it what it does not hold back."""
    code = (
        "import sys; from pathlib import Path; from ism_ros.checkpoints.download import download\n"
        "def tell(doing, done, total): print(done, flush=True)\n"
        "download(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], tell)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", code, server.url, str(target), str(len(CONTENT)), SHA256]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert child.stdout is not None
    while int(child.stdout.readline()) < BLOCK_BYTES:
        pass
    return child


def test_a_killed_download_goes_on_where_it_was(server: FileServer, fetch: Callable[[], None], target: Path) -> None:
    server.held_back = 20 * BLOCK_BYTES
    child = start_download(server, target)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not target.exists()
    come = partial_path(target).stat().st_size
    assert 0 < come < len(CONTENT)
    server.held_back = None
    server.released.set()
    fetch()
    assert target.read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={come}-"


def test_a_second_download_of_the_same_file_is_refused(
    server: FileServer, fetch: Callable[[], None], target: Path
) -> None:
    server.held_back = 20 * BLOCK_BYTES
    child = start_download(server, target)
    with pytest.raises(DownloadError, match=r"weights\.pth is being fetched by another process"):
        fetch()
    server.released.set()
    assert child.wait() == 0
    assert target.read_bytes() == CONTENT
