"""What the server logs: one line an answer, with the id of its request, for people or for machines."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from server_process import Server, StartServer, start, stop


def test_an_answer_carries_the_id_that_the_client_gave(server: Server) -> None:
    with server.client() as client:
        assert client.get("/health", headers={"X-Request-ID": "cell-7.42"}).headers["x-request-id"] == "cell-7.42"


@pytest.mark.parametrize("given", [None, "two\twords", "x" * 65, '"}{'])
def test_without_a_usable_one_the_server_makes_an_id(server: Server, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-ID": given}
    with server.client() as client:
        first, second = (client.get("/health", headers=headers).headers["x-request-id"] for _ in range(2))
    assert len(first) == 32
    assert first not in (second, given)


@pytest.mark.slow
def test_json_lines_have_the_request_and_never_an_image(start_server: StartServer, sample: dict[str, Any]) -> None:
    server = start_server(ISM_LOG_FORMAT="json", ISM_LOG_LEVEL="debug")
    with server.client() as client:
        assert client.post("/api/v1/inference", json=sample, headers={"X-Request-ID": "one"}).status_code == 200
        assert client.get("/api/v1/nothing", headers={"X-Request-ID": "two"}).status_code == 404
    said = stop(server)
    lines = [json.loads(line) for line in said.splitlines()]
    answers = {line["request_id"]: line for line in lines if "status" in line}
    assert (answers["one"]["method"], answers["one"]["path"], answers["one"]["status"]) == (
        "POST",
        "/api/v1/inference",
        200,
    )
    assert answers["one"]["seconds"] > 0
    assert answers["two"]["status"] == 404
    assert sample["rgb_image"][:60] not in said


def test_a_log_file_that_cannot_be_written_is_one_line(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(AssertionError) as said:
        start(tmp_path / "data", cache, ISM_LOG_FILE=str(tmp_path / "nowhere" / "ism.log"))
    assert "ISM_LOG_FILE" in str(said.value)
    assert len(str(said.value).strip().splitlines()) == 1


def test_a_log_file_is_put_aside_when_it_is_full(tmp_path: Path) -> None:
    file = tmp_path / "ism.log"
    program = """
import logging, sys
from ism_ros.server.request_logging import configure_logging
configure_logging("info", "human", sys.argv[1], 2000)
for number in range(500):
    logging.info("line %d", number)
"""
    subprocess.run([sys.executable, "-c", program, str(file)], check=True)
    assert "line 499" in file.read_text()
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == 6
    assert all(path.stat().st_size <= 2000 for path in kept)


def test_a_record_of_another_process_keeps_its_text_level_and_request() -> None:
    program = """
import logging
from ism_ros.server.request_logging import ForwardingHandler, configure_logging, log_forwarded, set_request_ids
sent = []
logging.basicConfig(level="INFO", handlers=[ForwardingHandler(sent.append)], force=True)
set_request_ids(["one", "two"])
logging.getLogger("child").warning("seen %d", 3)
configure_logging("info", "json", "", 0)
set_request_ids(["other"])
log_forwarded(sent[0])
"""
    ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    line = json.loads(ended.stderr)
    assert (line["message"], line["level"], line["logger"]) == ("seen 3", "warning", "child")
    assert line["request_id"] == "one,two"
