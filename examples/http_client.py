#!/usr/bin/env python3
"""Sends one RGB-D frame to an ISM Server and shows what it finds; needs nothing but Python.

    ism serve                                                       # the server, in another terminal
    examples/http_client.py --sample                                # a frame and objects that come with it
    examples/http_client.py --rgb rgb.png --depth depth.png --camera camera.json --cad mug.ply --output out

CAD files and template folders are paths at the server, relative to its data root; without any it looks for the objects
that it was started with. With --output, OUTPUT/answer.json is the whole answer (docs/server.md) and OUTPUT/overlay.png
a picture of it. Copy this file as a start for your own client.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

TIMEOUT_S = 300.0
"""Longest that one response may take, seconds."""


def main() -> None:
    """Send the frame and show what is found."""
    options = arguments()
    try:
        wait_until_ready(options.server)
        request = call(options, "/test/sample") if options.sample else request_of_files(options)
        response = call(options, "/api/v1/inference", {**request, "visualization": options.output is not None})
        print_table(response)
        if options.output is not None:
            save(response, options.output)
    except urllib.error.HTTPError as error:
        sys.exit(f"http_client: {options.server} answered {error.code}: {reason_of(error)}")
    except urllib.error.URLError as error:
        sys.exit(f"http_client: {options.server} cannot be reached ({error.reason}): start it with 'ism serve'")
    except (OSError, ValueError) as error:
        sys.exit(f"http_client: {error}")


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    title, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=title, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", default="http://127.0.0.1:8002", help="default: %(default)s")
    parser.add_argument("--api-key", default=os.environ.get("ISM_API_KEY", ""), help="default: $ISM_API_KEY")
    parser.add_argument("--sample", action="store_true", help="send the frame that comes with the server")
    parser.add_argument("--rgb", type=Path, help="color image, PNG or JPEG")
    parser.add_argument("--depth", type=Path, help="16-bit PNG, registered to rgb")
    parser.add_argument("--camera", type=Path, help='camera.json: {"cam_K": [9 numbers], "depth_scale": 1.0}')
    parser.add_argument("--cad", help="CAD file at the server")
    parser.add_argument("--templates", help="template folder at the server")
    parser.add_argument("--object", action="append", help="id of one of the server's objects; may be given again")
    parser.add_argument("--output", type=Path, help="folder for answer.json and overlay.png")
    options = parser.parse_args()
    options.server = options.server.rstrip("/")
    if not options.sample and not (options.rgb and options.camera):
        parser.error("give --rgb and --camera, or --sample")
    return options


def wait_until_ready(server: str) -> None:
    """Wait until the models are loaded, and print what the server is loading.

    Args:
        server: Address of the server.

    Raises:
        urllib.error.HTTPError: The server cannot load them.
    """
    while True:
        try:
            with urllib.request.urlopen(f"{server}/ready", timeout=TIMEOUT_S):
                return
        except urllib.error.HTTPError as error:
            pause_s = error.headers.get("Retry-After")
            if error.code != 503 or pause_s is None:
                raise
            print(reason_of(error), file=sys.stderr)
            time.sleep(float(pause_s))


def request_of_files(options: argparse.Namespace) -> dict[str, Any]:
    """Make the fields of a request; those that are None are left to the server.

    Args:
        options: The command line.

    Returns:
        The fields.
    """
    return {
        "rgb_image": base64.b64encode(options.rgb.read_bytes()).decode(),
        "depth_image": options.depth and base64.b64encode(options.depth.read_bytes()).decode(),
        "cam_params": json.loads(options.camera.read_text()),
        "cad_path": options.cad,
        "template_dir": options.templates,
        "object_ids": options.object,
    }


def call(options: argparse.Namespace, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Send a request.

    Args:
        options: The command line, with address and key.
        path: Path of the route.
        body: Fields of a POST request; None = GET.

    Returns:
        The fields of the response.

    Raises:
        urllib.error.HTTPError: The server refuses it.
    """
    request = urllib.request.Request(
        options.server + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "X-API-Key": options.api_key},
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        return dict(json.load(response))


def reason_of(error: urllib.error.HTTPError) -> str:
    """Return the server's own words for an error.

    Args:
        error: What a request has raised.
    """
    try:
        return str(json.load(error)["error_message"])
    except (ValueError, TypeError, KeyError):
        return str(error.reason)


def print_table(response: dict[str, Any]) -> None:
    """Print one row for each detection.

    Args:
        response: The fields of a response.
    """
    print(f"{'object':<24} score   x, y, width, height (px)   position in the camera frame (m)")
    for found in response["detections"]:
        box = ", ".join(map(str, found["bbox"]))
        position = (
            ", ".join(f"{metres:.3f}" for metres in found["pose"]["translation_m"]) if found["pose"] else "unknown"
        )
        print(f"{found['class_id']:<24} {found['score']:.3f}   {box:<25} {position}")
    print(f"{len(response['detections'])} found in {1000 * response['inference_time']:.0f} ms")


def save(response: dict[str, Any], folder: Path) -> None:
    """Write response and overlay.

    Args:
        response: The fields of a response.
        folder: Where they go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "overlay.png").write_bytes(base64.b64decode(response.pop("visualization")))
    (folder / "answer.json").write_text(json.dumps(response, indent=1))
    print(f"wrote {folder / 'overlay.png'} and {folder / 'answer.json'}")


if __name__ == "__main__":
    main()
