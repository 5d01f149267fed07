"""The page at `/`, as people use it: a real browser, a real server."""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import trimesh
from PIL import Image
from server_process import Server, start, stop

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install playwright")
Browser, Page, expect = playwright.Browser, playwright.Page, playwright.expect

REPO = Path(__file__).parents[3]
SCENE = REPO / "ism_ros" / "selftest" / "sample_scene"
PAGE = REPO / "ism_ros" / "server" / "web"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on PATH: apt-get install chromium")
    with playwright.sync_playwright() as play:
        sandbox = [] if os.geteuid() else ["--no-sandbox"]  # root has none
        started = play.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """The page, just opened; whatever it asks of other machines, or says of errors, fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
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


def try_sample(page: Page) -> None:
    page.get_by_role("button", name="Try the sample").click()
    expect(page.locator("#summary")).to_have_text("2 instances")


def shown_rows(page: Page) -> Any:
    return page.locator("#instances tr:not([hidden])")


def give_files(page: Page, *files: Path) -> None:
    page.locator("#files").set_input_files([str(file) for file in files])


def brightness(page: Page) -> float:
    """Mean of the picture's pixels once it is drawn."""
    return page.evaluate(
        """async () => {
            await new Promise(requestAnimationFrame);
            await new Promise(requestAnimationFrame);
            const canvas = document.getElementById("picture");
            const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            return pixels.reduce((sum, value) => sum + value, 0) / pixels.length;
        }"""
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


@pytest.mark.slow
def test_own_files_are_told_apart_by_their_contents(page: Page, server: Server, tmp_path: Path) -> None:
    with server.client() as client, (SCENE / "carton.glb").open("rb") as cad:
        client.post("/api/v1/objects", data={"id": "my carton"}, files={"cad": ("carton.glb", cad)})
    names = {"rgb.jpg": "a; b.jpg", "depth.png": "it's depth.png", "camera.json": "camera.json"}
    for name, own in names.items():
        shutil.copy(SCENE / name, tmp_path / own)
    page.locator("#objects").get_by_text("my carton").wait_for()
    give_files(page, *(tmp_path / own for own in names.values()))
    expect(page.locator("#slot-depth")).to_contain_text("it's depth.png · 352 \N{MULTIPLICATION SIGN} 288, 16-bit")
    page.get_by_role("button", name="Find instances").click()
    expect(page.locator("#summary")).to_have_text("1 instance")
    expect(shown_rows(page)).to_contain_text("my carton")
    line = page.locator("#curl").text_content()
    answer = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, check=True, timeout=60).stdout
    assert [one["class_id"] for one in json.loads(answer)["detections"]] == ["my carton"]
    with server.client() as client:
        client.delete("/api/v1/objects/my carton")


def test_files_can_be_dropped_anywhere(page: Page) -> None:
    contents = {name: base64.b64encode((SCENE / name).read_bytes()).decode() for name in ("rgb.jpg", "camera.json")}
    page.evaluate(
        """(contents) => {
            const transfer = new DataTransfer();
            for (const [name, text] of Object.entries(contents)) {
                transfer.items.add(new File([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))], name));
            }
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
        }""",
        contents,
    )
    expect(page.locator("#slot-rgb")).to_contain_text("rgb.jpg")
    expect(page.locator("#slot-camera")).to_contain_text("f 461 px")
    expect(page.locator("#picture")).to_be_visible()
    expect(page.get_by_role("radio", name="Depth")).to_be_disabled()


def test_a_file_that_is_none_of_the_three_is_named(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not an image")
    give_files(page, tmp_path / "notes.txt")
    expect(page.get_by_role("alert")).to_have_text(
        "notes.txt is no PNG, JPEG or JSON: drop a colour image, a 16-bit depth PNG and camera.json, or an object's "
        "CAD file."
    )


def test_what_the_server_refuses_is_said_in_its_words(page: Page, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "small.png"), np.full((48, 64), 900, np.uint16))
    give_files(page, SCENE / "rgb.jpg", tmp_path / "small.png", SCENE / "camera.json")
    page.get_by_text("By path at the server, instead").click()
    page.get_by_label("cad_path").fill("nowhere.ply")
    page.get_by_role("button", name="Find instances").click()
    expect(page.get_by_role("alert")).to_contain_text("nowhere.ply")
    expect(page.get_by_role("button", name="Find instances")).to_be_enabled()


def test_what_is_missing_is_said(page: Page) -> None:
    page.get_by_role("button", name="Find instances").click()
    expect(page.get_by_role("alert")).to_contain_text("A colour image is missing")
    give_files(page, SCENE / "rgb.jpg")
    page.get_by_role("button", name="Find instances").click()
    expect(page.get_by_role("alert")).to_contain_text("The camera is missing")


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


def test_scores_are_bars_as_well_at_every_width(page: Page) -> None:
    try_sample(page)
    cell = shown_rows(page).first.locator("td.score")
    score = float(cell.locator(".number").text_content())
    for width in (390, 1024, 1280, 1600):
        page.set_viewport_size({"width": width, "height": 900})
        expect(cell.locator(".bar")).to_be_visible()
    share = cell.locator(".bar").evaluate("(bar) => bar.style.getPropertyValue('--share')")
    assert abs(float(share.removesuffix("%")) - 100 * score) < 1.5


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
    assert {"view-colour", "show-masks", "download-json", "TR", "SUMMARY"} <= reached


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
    cv2.imwrite(str(tmp_path / "grey.png"), cv2.imread(str(SCENE / "rgb.jpg"), cv2.IMREAD_GRAYSCALE))
    try_sample(page)
    expect(page.locator("#warnings")).to_be_hidden()
    answer = page.evaluate(
        """async (picture) => {
            const asked = { ...(await (await fetch("/test/sample")).json()), rgb_image: picture };
            const headers = { "content-type": "application/json" };
            return (await fetch("/api/v1/inference", { method: "POST", body: JSON.stringify(asked), headers })).json();
        }""",
        base64.b64encode((tmp_path / "grey.png").read_bytes()).decode(),
    )
    assert [warning["reason"] for warning in answer["warnings"]] == ["grey_image"]
    page.route("**/api/v1/inference/upload", lambda route: route.fulfill(json=answer))
    page.get_by_role("button", name="Find instances").click()
    expect(page.locator("#warnings li")).to_contain_text("The rgb image has no colours")


def drop(page: Page, name: str, content: bytes) -> None:
    page.evaluate(
        """([name, text]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))], name));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
        }""",
        [name, base64.b64encode(content).decode()],
    )


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


def test_each_file_of_the_frame_can_be_cleared(page: Page) -> None:
    give_files(page, SCENE / "rgb.jpg", SCENE / "depth.png", SCENE / "camera.json")
    expect(page.get_by_role("radio", name="Depth")).to_be_enabled()
    page.get_by_role("button", name="Clear depth").click()
    expect(page.locator("#slot-depth")).to_contain_text("16-bit PNG, registered to colour")
    expect(page.get_by_role("radio", name="Depth")).to_be_disabled()
    page.get_by_role("button", name="Clear colour").click()
    expect(page.locator("#picture")).to_be_hidden()
    expect(page.get_by_role("button", name="Try the sample")).to_be_visible()


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_picture_is_shown_as_it_is_stored_whatever_its_exif_says(
    page: Page, tmp_path: Path, orientation: int
) -> None:
    stored = Image.open(SCENE / "rgb.jpg")
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    stored.save(tmp_path / "turned.png", exif=exif)
    for name in ("turned.jpg", "turned.png"):
        give_files(page, tmp_path / name, SCENE / "camera.json")
        expect(page.locator("#slot-rgb")).to_contain_text(name.split(".")[0])
        brightness(page)
        corner = page.evaluate(
            """() => {
                const canvas = document.getElementById("picture");
                const [width, height] = [canvas.width, canvas.height];
                const context = canvas.getContext("2d");
                const mean = (x, y) => {
                    const { data } = context.getImageData(x * width, y * height, width / 4, height / 4);
                    return data.reduce((sum, value, i) => sum + (i % 4 === 3 ? 0 : value), 0) / (0.75 * data.length);
                };
                return [width / height, mean(0, 0), mean(0.75, 0), mean(0, 0.75), mean(0.75, 0.75)];
            }"""
        )
        pixels = np.asarray(stored.convert("RGB"), float)
        h, w = pixels.shape[0] // 4, pixels.shape[1] // 4
        corners = [pixels[:h, :w], pixels[:h, -w:], pixels[-h:, :w], pixels[-h:, -w:]]
        assert np.allclose(corner, [352 / 288, *(part.mean() for part in corners)], atol=4, rtol=0.01)


def test_the_sample_is_in_sight_on_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 664})
    box = page.get_by_role("button", name="Try the sample").bounding_box()
    assert box["y"] + box["height"] < 664


def test_an_answer_of_a_proxy_is_told_in_the_pages_own_words(page: Page) -> None:
    html = {"status": 502, "body": "<html>Bad Gateway</html>", "content_type": "text/html"}
    page.route("**/test/sample", lambda route: route.fulfill(**html))
    page.get_by_role("button", name="Try the sample").click()
    expect(page.get_by_role("alert")).to_have_text(re.compile("A proxy in between cannot reach the server"))
    page.unroute("**/test/sample")
    page.route("**/test/sample", lambda route: route.fulfill(status=422, json={"detail": [{"msg": "odd"}]}))
    page.get_by_role("button", name="Try the sample").click()
    expect(page.get_by_role("alert")).to_have_text(re.compile("The server answered with the status 422"))


def test_depth_is_shown_with_all_of_its_16_bits(page: Page) -> None:
    try_sample(page)
    colour = brightness(page)
    page.get_by_role("radio", name="Depth").check()
    expect(page.locator("#legend")).to_be_visible()
    assert abs(brightness(page) - colour) > 5
    truth_m = cv2.imread(str(SCENE / "depth.png"), cv2.IMREAD_UNCHANGED) / 1000
    picture = page.locator("#picture").bounding_box()
    measured = [(x, y) for x, y in ((100, 140), (200, 200), (300, 60), (40, 250)) if truth_m[y, x] > 0]
    for x, y in measured:
        scale = picture["width"] / truth_m.shape[1]
        page.mouse.move(picture["x"] + (x + 0.5) * scale, picture["y"] + (y + 0.5) * scale)
        expect(page.locator("#under-pointer")).to_have_text(f"{x}, {y} · {truth_m[y, x]:.3f} m")
    assert len(measured) >= 3


def test_depth_files_of_any_compression_are_read_bit_by_bit(page: Page) -> None:
    random = np.random.default_rng(0)
    for level, strategy in itertools.product((0, 1, 9), range(5)):
        depth = random.integers(0, 65536, (40, 30)).cumsum(axis=level % 2).astype(np.uint16)
        how = [cv2.IMWRITE_PNG_COMPRESSION, level, cv2.IMWRITE_PNG_STRATEGY, strategy]
        values = page.evaluate(
            """async (text) => {
                const { decodeGrey16 } = await import("/page/png16.js");
                return [...(await decodeGrey16(Uint8Array.from(atob(text), (one) => one.charCodeAt(0)))).values];
            }""",
            base64.b64encode(cv2.imencode(".png", depth, how)[1].tobytes()).decode(),
        )
        assert values == depth.flatten().tolist(), (level, strategy)


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
    page.set_default_timeout(PATIENCE_MS)
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
    keyed_page.set_default_timeout(PATIENCE_MS)
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


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_the_page_follows_the_colours_of_the_system(page: Page, scheme: str, is_dark: bool) -> None:
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
