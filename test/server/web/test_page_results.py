"""What the page shows of an answer."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from pathlib import Path

import cv2
import numpy as np
from page_helpers import (
    SCENE,
    Page,
    brightness,
    expect,
    give_files,
    shown_rows,
    try_sample,
)


def test_one_click_shows_the_instances_of_the_sample(page: Page) -> None:
    try_sample(page)
    expect(page.locator("#picture")).to_have_attribute("aria-label", re.compile(r"sample:banana 0\.\d\d"))
    expect(shown_rows(page).first).to_contain_text("sample:")
    expect(page.locator("#timing-list")).to_contain_text(re.compile(r"proposals \d+ ms"))
    expect(page.get_by_role("alert")).to_be_hidden()


def test_masks_lie_where_the_boxes_say(page: Page) -> None:
    try_sample(page)
    inside = page.evaluate(
        """async () => {
            const { decodeMask } = await import("/page/masks.js");
            const asked = await (await fetch("/test/sample")).json();
            const headers = { "content-type": "application/json" };
            const init = { method: "POST", body: JSON.stringify(asked), headers };
            const answer = await (await fetch("/api/v1/inference", init)).json();
            return answer.detections.map(({ segmentation, bbox }) => {
                const { width, inside, area } = decodeMask(segmentation);
                const at = [...inside.keys()].filter((i) => inside[i]);
                const [xs, ys] = [at.map((i) => i % width), at.map((i) => Math.floor(i / width))];
                const box = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
                return { box, bbox, counted: at.length, area };
            });
        }"""
    )
    assert len(inside) == 2
    for one in inside:
        x, y, width, height = one["bbox"]
        assert np.allclose(one["box"], [x, y, x + width, y + height], atol=1)
        assert one["counted"] == one["area"] > 0


def test_an_instance_under_the_pointer_lights_up_with_its_row(page: Page) -> None:
    try_sample(page)
    row = shown_rows(page).first
    x, y, width, height = (int(number) for number in row.locator("td.numbers").first.text_content().split())
    picture = page.locator("#picture").bounding_box()
    scale = picture["width"] / 352
    unlit = brightness(page)
    page.mouse.move(picture["x"] + (x + width / 2) * scale, picture["y"] + (y + height / 2) * scale)
    expect(row).to_have_class("lit")
    assert brightness(page) < unlit - 2  # all the rest is darker
    page.mouse.move(picture["x"] + 3, picture["y"] + 3)
    expect(row).not_to_have_class("lit")


def test_a_clicked_instance_stays_lit(page: Page) -> None:
    try_sample(page)
    row = shown_rows(page).last
    x, y, width, height = (int(number) for number in row.locator("td.numbers").first.text_content().split())
    picture = page.locator("#picture").bounding_box()
    scale = picture["width"] / 352
    page.mouse.click(picture["x"] + (x + width / 2) * scale, picture["y"] + (y + height / 2) * scale)
    expect(row).to_be_focused()
    page.mouse.move(3, 3)
    expect(page.locator("#under-pointer")).to_be_empty()
    expect(row).to_have_class("lit")
    page.mouse.click(picture["x"] + 3, picture["y"] + 3)
    expect(row).not_to_have_class("lit")


def test_rows_light_up_their_instance_from_the_keyboard(page: Page) -> None:
    try_sample(page)
    unlit = brightness(page)
    shown_rows(page).first.focus()
    page.keyboard.press("ArrowDown")
    expect(shown_rows(page).nth(1)).to_be_focused()
    expect(shown_rows(page).nth(1)).to_have_class("lit")
    assert brightness(page) < unlit - 2


def test_all_can_be_done_from_the_keyboard(page: Page) -> None:
    reached: set[str] = set()
    page.get_by_role("button", name="use the sample").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#summary")).to_have_text("2 instances")
    page.locator("h1").click()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"choose-files", "use-sample", "segmentor", "stability", "run", "threshold", "copy-curl"} <= reached
    assert {"view-color", "show-masks", "download-json", "TR", "SUMMARY"} <= reached


def test_an_answer_is_never_shown_over_another_frame(page: Page, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "other.png"), cv2.imread(str(SCENE / "rgb.jpg"))[:, ::-1])
    try_sample(page)
    page.get_by_role("button", name="Find instances").click()
    give_files(page, tmp_path / "other.png")
    expect(page.locator("#slot-rgb")).to_contain_text("other.png")
    expect(page.get_by_role("button", name="Find instances")).to_be_enabled()
    expect(page.locator("#answer")).to_be_hidden()
    expect(page.get_by_role("alert")).to_be_hidden()


def test_the_slider_filters_on_the_spot(page: Page) -> None:
    try_sample(page)
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url) if "inference" in one.url else None)
    page.locator("#threshold").fill("0.99")
    expect(page.locator("#summary")).to_have_text("No instance")
    expect(shown_rows(page)).to_have_count(1)
    expect(shown_rows(page)).to_have_class("guess")
    page.locator("#threshold").fill("0.5")
    expect(page.locator("#summary")).to_have_text(re.compile(r"^\d+ instances$"))
    assert asked == []


def test_where_nothing_is_certain_enough_the_best_guess_is_dimmed_with_the_least_score_that_shows_it(
    page: Page,
) -> None:
    try_sample(page)
    score = float(shown_rows(page).first.locator("td.score .number").text_content())
    page.locator("#threshold").fill("0.99")
    expect(page.locator("#best-guess")).to_contain_text(f"The best guess is sample:carton at {score:.2f}")
    expect(page.locator("#picture")).to_have_attribute(
        "aria-label", re.compile("no instance; the best guess is sample")
    )
    page.get_by_role("button", name=re.compile(r"a least score of 0\.\d\d shows it")).click()
    expect(page.locator("#summary")).to_have_text("1 instance")
    expect(page.locator("#best-guess")).to_be_hidden()


def test_what_makes_the_answer_doubtful_is_shown(page: Page, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "gray.png"), cv2.imread(str(SCENE / "rgb.jpg"), cv2.IMREAD_GRAYSCALE))
    try_sample(page)
    expect(page.locator("#warnings")).to_be_hidden()
    answer = page.evaluate(
        """async (picture) => {
            const asked = { ...(await (await fetch("/test/sample")).json()), rgb_image: picture };
            const headers = { "content-type": "application/json" };
            return (await fetch("/api/v1/inference", { method: "POST", body: JSON.stringify(asked), headers })).json();
        }""",
        base64.b64encode((tmp_path / "gray.png").read_bytes()).decode(),
    )
    assert [warning["reason"] for warning in answer["warnings"]] == ["grey_image"]
    page.route("**/api/v1/inference/upload", lambda route: route.fulfill(json=answer))
    page.get_by_role("button", name="Find instances").click()
    expect(page.locator("#warnings li")).to_contain_text("The rgb image has no colors")


def test_an_answer_of_a_proxy_is_told_in_the_pages_own_words(page: Page) -> None:
    html = {"status": 502, "body": "<html>Bad Gateway</html>", "content_type": "text/html"}
    page.route("**/test/sample", lambda route: route.fulfill(**html))
    page.get_by_role("button", name="Try the sample").click()
    expect(page.get_by_role("alert")).to_have_text(re.compile("A proxy in between cannot reach the server"))
    page.unroute("**/test/sample")
    page.route("**/test/sample", lambda route: route.fulfill(status=422, json={"detail": [{"msg": "odd"}]}))
    page.get_by_role("button", name="Try the sample").click()
    expect(page.get_by_role("alert")).to_have_text(re.compile("The server answered with the status 422"))


def test_the_curl_line_gives_what_the_page_shows(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    try_sample(page)
    page.get_by_role("button", name="Copy curl").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    line = page.evaluate("navigator.clipboard.readText()")
    answer = json.loads(subprocess.run(["sh", "-c", line], capture_output=True, check=True, timeout=60).stdout)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download JSON").click()
    saved = json.loads(Path(download.value.path()).read_text())
    assert download.value.suggested_filename == "rgb_ism.json"
    assert saved["detections"] == answer["detections"]
    assert len(saved["detections"]) == 2
