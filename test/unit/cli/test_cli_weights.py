"""`ism weights`, run as a user runs it, against a real HTTP server on this machine."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from ism_ros.checkpoints.catalog import CHECKPOINTS, PROFILES, Checkpoint
from ism_ros.cli.main import main


@dataclass(frozen=True)
class Done:
    """How a run of `ism` ended."""

    returncode: int
    stdout: str
    stderr: str


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Path:
    (tmp_path / "served").mkdir()
    return tmp_path / "served"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The folder of checkpoints."""
    return tmp_path / "checkpoints"


@pytest.fixture
def server_url(served: Path) -> Iterator[str]:
    """Serves what is in `served`."""
    handler = functools.partial(Handler, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        thread.join()


@pytest.fixture
def checkpoints(server_url: str, served: Path) -> dict[str, Checkpoint]:
    """The official ones, but for two small ones that lie on the server."""
    table = dict(CHECKPOINTS)
    for name in ("sam/vit_b", "dinov2/vits14"):
        file_name = table[name].file_name
        torch.save({"made.for": torch.full((5000,), float(len(name)))}, served / file_name)
        content = (served / file_name).read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        url = f"{server_url}/{file_name}"
        table[name] = replace(table[name], url=url, size_bytes=len(content), sha256=sha256)
    return table


@pytest.fixture
def ism(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], checkpoints: dict[str, Checkpoint], here: Path
) -> Callable[..., Done]:
    """Runs `ism weights`."""
    monkeypatch.setenv("COLUMNS", "220")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("ISM_CHECKPOINTS_DIR", str(here))

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["ism", "weights", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main(checkpoints)
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return run


def assert_refused(done: Done, *said: str) -> None:
    assert done.returncode == 2
    assert done.stderr.startswith("ism: ")
    assert len(done.stderr.strip().splitlines()) == 1
    for words in said:
        assert words in done.stderr


def row_of(name: str, output: str) -> str:
    return next(line for line in output.splitlines() if line.split()[:1] == [name])


def test_several_checkpoints_are_fetched_at_once(ism: Callable[..., Done], served: Path, here: Path) -> None:
    done = ism("download", "sam/vit_b", "dinov2/vits14")
    assert done.returncode == 0, done.stderr
    for name in ("sam_vit_b_01ec64.pth", "dinov2_vits14_pretrain.pth"):
        assert (here / name).read_bytes() == (served / name).read_bytes()
    assert ism("verify").returncode == 0


def test_what_is_here_is_not_fetched_again(ism: Callable[..., Done], served: Path, here: Path) -> None:
    (here / "segment-anything").mkdir(parents=True)
    (served / "sam_vit_b_01ec64.pth").rename(here / "segment-anything" / "sam_vit_b_01ec64.pth")
    done = ism("download", "sam/vit_b")
    assert done.returncode == 0, done.stderr
    assert "sam/vit_b is here and right" in done.stderr
    assert [path.name for path in here.iterdir()] == ["segment-anything"]


def test_a_damaged_file_is_replaced(ism: Callable[..., Done], served: Path, here: Path) -> None:
    here.mkdir()
    (here / "sam_vit_b_01ec64.pth").write_bytes(b"half")
    assert ism("download", "sam/vit_b").returncode == 0
    assert (here / "sam_vit_b_01ec64.pth").read_bytes() == (served / "sam_vit_b_01ec64.pth").read_bytes()


def test_a_file_that_the_server_lacks_is_told_with_what_to_do(
    ism: Callable[..., Done], served: Path, here: Path, server_url: str
) -> None:
    (served / "sam_vit_b_01ec64.pth").unlink()
    by_hand = f"fetch {server_url}/sam_vit_b_01ec64.pth by hand and put it into {here}"
    assert_refused(ism("download", "sam/vit_b"), "sam/vit_b did not come", "answers 404", by_hand)
    assert list(here.iterdir()) == []


def test_a_wrong_file_on_the_server_is_told(ism: Callable[..., Done], served: Path, here: Path) -> None:
    file = served / "sam_vit_b_01ec64.pth"
    file.write_bytes(bytes(file.stat().st_size))
    assert_refused(ism("download", "sam/vit_b"), "has SHA-256", "and was deleted")
    assert list(here.iterdir()) == []


def test_no_network_is_told(ism: Callable[..., Done], checkpoints: dict[str, Checkpoint], here: Path) -> None:
    url = "http://host.invalid/sam_vit_b_01ec64.pth"
    checkpoints["sam/vit_b"] = replace(checkpoints["sam/vit_b"], url=url)
    done = ism("download", "sam/vit_b")
    assert_refused(done, "host.invalid cannot be reached", "by hand and put it into", str(here))


def test_a_licence_to_accept_is_told_in_one_sentence(ism: Callable[..., Done], here: Path) -> None:
    done = ism("download", "sam/vit_b", "dinov3/vits16")
    assert_refused(done, "accept its licence at https://", "and put dinov3_vits16_pretrain_lvd1689m-08c60483.pth into")
    assert not here.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["download"], "nothing to fetch"),
        (["download", "sam"], "choose one of: sam/vit_b, sam/vit_l, sam/vit_h"),
        (["download", "--all-of", "best"], "profile 'best' is unknown; choose one of: fast, balanced, accurate"),
        (["verify", "yolo/x"], "checkpoint 'yolo/x' is unknown"),
        (["path", "sam/vit_b"], "run `ism weights download sam/vit_b`"),
    ],
)
def test_a_users_mistake_is_told_in_one_line(ism: Callable[..., Done], arguments: list[str], said: str) -> None:
    assert_refused(ism(*arguments), said)


def test_list_tells_what_is_here(ism: Callable[..., Done], here: Path) -> None:
    assert ism("download", "sam/vit_b").returncode == 0
    (here / "dinov2_vits14_pretrain.pth.part").write_bytes(b"\0" * 1000)
    listed = ism("list").stdout
    assert "yes" in row_of("sam/vit_b", listed)
    assert "%" in row_of("dinov2/vits14", listed)
    assert row_of("sam/vit_h", listed).split() == [
        *("sam/vit_h", "sam_vit_h_4b8939.pth", "2.56", "GB", "Apache-2.0", "a7bf3b02f3…")
    ]
    assert "not known" in row_of("dinov3/vit7b16", listed)
    assert f"Folder: {here}" in listed
    assert all(row_of(name, listed) for name in CHECKPOINTS)


def test_hashes_are_printed_in_full_for_sha256sum(ism: Callable[..., Done]) -> None:
    lines = ism("list", "--sha256").stdout.splitlines()
    assert f"{CHECKPOINTS['sam/vit_h'].sha256}  sam_vit_h_4b8939.pth" in lines


def test_verify_ends_with_1_when_a_file_is_wrong(ism: Callable[..., Done], here: Path) -> None:
    assert ism("download", "sam/vit_b", "dinov2/vits14").returncode == 0
    file = here / "sam_vit_b_01ec64.pth"
    file.write_bytes(file.read_bytes()[:-1])
    done = ism("verify")
    assert done.returncode == 1
    assert "wrong" in row_of("sam/vit_b", done.stdout)
    assert "passed" in row_of("dinov2/vits14", done.stdout)
    assert "delete it, then run `ism weights download sam/vit_b`" in done.stdout
    assert ism("verify", "dinov2/vits14").returncode == 0


def test_verify_of_a_name_that_is_not_here_ends_with_1(ism: Callable[..., Done]) -> None:
    done = ism("verify", "sam/vit_b")
    assert done.returncode == 1
    assert "missing" in row_of("sam/vit_b", done.stdout)
    assert "run `ism weights download sam/vit_b`" in done.stdout
    assert ism("verify").returncode == 0


def test_path_prints_the_folder_or_the_file_and_nothing_else(ism: Callable[..., Done], here: Path) -> None:
    assert ism("path").stdout == f"{here}\n"
    assert ism("download", "sam/vit_b").returncode == 0
    assert ism("path", "sam/vit_b").stdout == f"{here / 'sam_vit_b_01ec64.pth'}\n"


def test_the_folder_can_be_given(ism: Callable[..., Done], tmp_path: Path) -> None:
    assert ism("download", "sam/vit_b", "--dir", tmp_path / "other").returncode == 0
    assert (tmp_path / "other" / "sam_vit_b_01ec64.pth").is_file()


def test_profiles_name_a_segmentor_and_a_descriptor() -> None:
    for names in PROFILES.values():
        families = [CHECKPOINTS[name].family for name in names]
        assert families[0] in ("sam", "sam2", "fastsam")
        assert families[1] in ("dinov2", "dinov3")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_table_is_printed_in_terminals_of_any_encoding(encoding: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "ism_ros.cli.main", "weights", "list"],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert b"dinov2/vitl14" in ended.stdout
