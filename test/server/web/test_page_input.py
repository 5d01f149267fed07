"""Files that are given to the page: told apart, shown, sent."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from page_helpers import (
    SCENE,
    Page,
    brightness,
    expect,
    give_files,
    shown_rows,
    try_sample,
)
from PIL import Image
from server_process import Server


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
        "notes.txt is no PNG, JPEG or JSON: drop a color image, a 16-bit depth PNG and camera.json, or an object's "
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
    expect(page.get_by_role("alert")).to_contain_text("A color image is missing")
    give_files(page, SCENE / "rgb.jpg")
    page.get_by_role("button", name="Find instances").click()
    expect(page.get_by_role("alert")).to_contain_text("The camera is missing")


def test_each_file_of_the_frame_can_be_cleared(page: Page) -> None:
    give_files(page, SCENE / "rgb.jpg", SCENE / "depth.png", SCENE / "camera.json")
    expect(page.get_by_role("radio", name="Depth")).to_be_enabled()
    page.get_by_role("button", name="Clear depth").click()
    expect(page.locator("#slot-depth")).to_contain_text("16-bit PNG, registered to color")
    expect(page.get_by_role("radio", name="Depth")).to_be_disabled()
    page.get_by_role("button", name="Clear color").click()
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


def test_depth_is_shown_with_all_of_its_16_bits(page: Page) -> None:
    try_sample(page)
    color = brightness(page)
    page.get_by_role("radio", name="Depth").check()
    expect(page.locator("#legend")).to_be_visible()
    assert abs(brightness(page) - color) > 5
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
                const { decodeGray16 } = await import("/page/png16.js");
                return [...(await decodeGray16(Uint8Array.from(atob(text), (one) => one.charCodeAt(0)))).values];
            }""",
            base64.b64encode(cv2.imencode(".png", depth, how)[1].tobytes()).decode(),
        )
        assert values == depth.flatten().tolist(), (level, strategy)
