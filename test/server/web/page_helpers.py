"""What tests of the page do with it."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install playwright")
Browser, Page, expect = playwright.Browser, playwright.Page, playwright.expect
REPO = Path(__file__).parents[3]
SCENE = REPO / "ism_ros" / "selftest" / "sample_scene"
PAGE = REPO / "ism_ros" / "server" / "web"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TIMEOUT_MS = 60_000


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


def drop(page: Page, name: str, content: bytes) -> None:
    page.evaluate(
        """([name, text]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))], name));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
        }""",
        [name, base64.b64encode(content).decode()],
    )
