"""How the page looks, and what it may load."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from page_helpers import (
    PAGE,
    Page,
    brightness,
    expect,
    shown_rows,
    try_sample,
)
from server_process import Server


def test_scores_are_bars_as_well_at_every_width(page: Page) -> None:
    try_sample(page)
    cell = shown_rows(page).first.locator("td.score")
    score = float(cell.locator(".number").text_content())
    for width in (390, 1024, 1280, 1600):
        page.set_viewport_size({"width": width, "height": 900})
        expect(cell.locator(".bar")).to_be_visible()
    share = cell.locator(".bar").evaluate("(bar) => bar.style.getPropertyValue('--share')")
    assert abs(float(share.removesuffix("%")) - 100 * score) < 1.5


def test_the_sample_is_in_sight_on_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 664})
    box = page.get_by_role("button", name="Try the sample").bounding_box()
    assert box["y"] + box["height"] < 664


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_the_page_follows_the_colors_of_the_system(page: Page, scheme: str, is_dark: bool) -> None:
    page.emulate_media(color_scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 3 * 128) is is_dark


def test_nothing_is_cut_off_at_any_width(page: Page) -> None:
    try_sample(page)
    for width in (340, 390, 768, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        brightness(page)  # the picture has its new size
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_control_has_a_name(page: Page) -> None:
    try_sample(page)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, progress, canvas")]
            .filter((one) => one.ariaHidden !== "true")
            .filter((one) => !one.ariaLabel && !one.textContent.trim() && !one.labels?.length)
            .map((one) => one.id)"""
    )
    assert nameless == []


def test_the_page_may_load_nothing_from_elsewhere_and_run_nothing_inline(server: Server) -> None:
    with server.client() as client:
        answers = [client.get("/"), *(client.get(f"/page/{file.name}") for file in PAGE.glob("*.js"))]
        assert client.get("/page/tsconfig.json").status_code == 404
        assert client.get("/page/..%2fapp.py").status_code == 404
    for answer in answers:
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy


def test_the_description_is_shown_and_tried_without_any_other_host(page: Page) -> None:
    page.get_by_role("link", name="API").click()
    page.locator("#operations-state-health_health_get").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table")).to_contain_text('"healthy"')


def test_the_scripts_are_what_the_compiler_makes_of_the_sources(tmp_path: Path) -> None:
    compiler = shutil.which("tsc")
    if compiler is None:
        pytest.skip("no TypeScript compiler on PATH: npm install --global typescript@5")
    subprocess.run([compiler, "--project", PAGE, "--outDir", tmp_path], check=True, timeout=120)
    made = {file.name: file.read_text() for file in tmp_path.glob("*.js")}
    assert made == {file.name: file.read_text() for file in PAGE.glob("*.js")}
