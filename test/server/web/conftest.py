"""A real browser, and the page opened in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server_process import Server

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from page_helpers import CHROMIUM, playwright

    if CHROMIUM is None:
        pytest.skip("no Chromium on PATH: apt-get install chromium")
    with playwright.sync_playwright() as play:
        sandbox = [] if os.geteuid() else ["--no-sandbox"]  # root has none
        started = play.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield started
        started.close()


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    """The page, just opened; whatever it asks of other machines, or says of errors, fails the test."""
    from page_helpers import TIMEOUT_MS, expect

    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(TIMEOUT_MS)
    expect.set_options(timeout=TIMEOUT_MS)
    elsewhere: list[str] = []
    broken: list[str] = []
    opened.on("request", lambda one: None if one.url.startswith((server.url, "blob:")) else elsewhere.append(one.url))
    opened.on("pageerror", lambda error: broken.append(str(error)))
    opened.on("console", lambda said: broken.append(said.text) if "Content Security Policy" in said.text else None)
    opened.goto(server.url)
    yield opened
    context.close()
    assert elsewhere == []
    assert broken == []
