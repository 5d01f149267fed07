"""Objects on the page, and a server that loads or wants a key."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import trimesh
from page_helpers import (
    TIMEOUT_MS,
    Browser,
    Page,
    drop,
    expect,
)
from server_process import start, stop


@pytest.mark.slow
def test_a_cad_file_dropped_on_the_page_is_offered_as_an_object_and_followed_over_a_reload(page: Page) -> None:
    drop(page, "ball.ply", trimesh.creation.icosphere(subdivisions=6, radius=40.0).export(file_type="ply"))
    expect(page.get_by_label("Name")).to_have_value("ball")
    page.get_by_role("button", name="Add object").click()
    expect(page.locator("#job-text")).to_contain_text(re.compile("ball( waits|:)"))
    page.reload()
    expect(page.locator("#job-text")).to_have_text("ball is ready")
    expect(page.get_by_role("checkbox", name="ball")).to_be_checked()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Remove ball from the server").click()
    expect(page.locator("#no-objects")).to_be_visible()


@pytest.mark.slow
def test_an_uploaded_cad_file_becomes_an_object_to_choose(page: Page, tmp_path: Path) -> None:
    trimesh.creation.icosphere(subdivisions=5, radius=40.0).export(tmp_path / "ball.ply")
    page.evaluate(
        """() => {
            window.said = [];
            const text = document.getElementById("job-text");
            new MutationObserver(() => window.said.push(text.textContent)).observe(text, { childList: true });
        }"""
    )
    page.get_by_text("Add an object from a CAD file").click()
    page.get_by_label("CAD file", exact=True).set_input_files(str(tmp_path / "ball.ply"))
    expect(page.get_by_label("Name")).to_have_value("ball")
    page.get_by_role("button", name="Add object").click()
    expect(page.locator("#job-text")).to_have_text("ball is ready")
    assert any(re.fullmatch(r"ball: \d+ of 42 views", text) for text in page.evaluate("window.said"))
    expect(page.get_by_role("checkbox", name="ball")).to_be_checked()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Remove ball from the server").click()
    expect(page.locator("#no-objects")).to_be_visible()


def test_a_cad_file_that_cannot_be_used_is_refused_in_the_servers_words(page: Page, tmp_path: Path) -> None:
    (tmp_path / "broken.ply").write_text("ply\nnot really\n")
    page.get_by_text("Add an object from a CAD file").click()
    page.get_by_label("CAD file", exact=True).set_input_files(str(tmp_path / "broken.ply"))
    page.get_by_role("button", name="Add object").click()
    expect(page.get_by_role("alert")).to_contain_text("is damaged or no PLY file")
    expect(page.get_by_role("button", name="Add object")).to_be_enabled()


@pytest.mark.slow
def test_while_models_load_the_page_waits_and_goes_on_by_itself(browser: Browser, tmp_path: Path, cache: Path) -> None:
    starting = start(tmp_path / "data", cache)
    page = browser.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(starting.url)
    page.get_by_role("button", name="Try the sample").click()
    expect(page.locator("#progress")).to_contain_text("The models are being loaded")
    expect(page.locator("#summary")).to_have_text("2 instances")
    page.close()
    stop(starting)


@pytest.mark.slow
def test_with_a_key_the_page_asks_for_it_and_sends_it(browser: Browser, tmp_path: Path, cache: Path) -> None:
    keyed = start(tmp_path / "data", cache, ISM_API_KEY="let me in")
    keyed_page = browser.new_page()
    keyed_page.set_default_timeout(TIMEOUT_MS)
    keyed_page.goto(keyed.url)
    expect(keyed_page.get_by_label("API key")).to_be_focused()
    keyed_page.keyboard.type("wrong")
    keyed_page.keyboard.press("Enter")
    expect(keyed_page.locator("#server-state")).to_have_text("wrong key")
    keyed_page.get_by_label("API key").fill("let me in")
    keyed_page.keyboard.press("Enter")
    keyed_page.get_by_role("button", name="Try the sample").click()
    expect(keyed_page.locator("#summary")).to_have_text("2 instances")
    line = keyed_page.locator("#curl").text_content()
    assert "let me in" not in line
    environment = {**os.environ, "ISM_API_KEY": "let me in"}
    answer = subprocess.run(["sh", "-c", line], env=environment, capture_output=True, check=True, timeout=60).stdout
    assert len(json.loads(answer)["detections"]) == 2
    keyed_page.close()
    stop(keyed)
