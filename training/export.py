"""Exports the weights of a run into the package, with their hash and the record of the run.

    python -m training.export segmentor RUN

RUN/weights.safetensors -> ism_ros/checkpoints/shipped_weights/NAME.safetensors and sha256.json;
RUN/run.json and RUN/curves.png -> training/record/NAME.json and NAME.png, folders' names shortened to what they are
called here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from pathlib import Path

from ism_ros.runtime.atomic_files import write_atomically

WEIGHTS = Path(__file__).parents[1] / "ism_ros" / "checkpoints" / "shipped_weights"
"""Where the weights are that ship with the package: those of this checkout, not of an installed package."""
RECORD = Path(__file__).parent / "record"
"""Where the records of the shipped weights are."""


def main() -> None:
    """Export as asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=["segmentor", "descriptor"])
    parser.add_argument("run", type=Path)
    options = parser.parse_args()
    print(export_weights(options.network, options.run, WEIGHTS, RECORD))


def export_weights(name: str, run: Path, package: Path, record: Path) -> str:
    """Copy weights and records of a run; each file appears whole or not at all.

    Args:
        name: segmentor or descriptor.
        run: Folder that training.train wrote.
        package: Folder of the shipped weights.
        record: Folder of the records.

    Returns:
        SHA-256 of the weights, hexadecimal.
    """
    digest = ship_weights(name, (run / "weights.safetensors").read_bytes(), package)
    ran = json.loads((run / "run.json").read_text(encoding="utf-8"))
    ran["command"] = re.sub(r"(?:/[\w.-]+)+/([\w.-]+)", r"\1", ran["command"])
    ran["weights_sha256"] = digest
    write_atomically(record / f"{name}.json", json.dumps(ran, indent=1) + "\n")
    write_atomically(record / f"{name}.png", (run / "curves.png").read_bytes())
    return digest


def ship_weights(name: str, content: bytes, package: Path) -> str:
    """Write weights and their hash; each file appears whole or not at all.

    Args:
        name: Of the weights, NAME.safetensors.
        content: Of that file.
        package: Folder of the shipped weights.

    Returns:
        SHA-256 of the weights, hexadecimal.
    """
    write_atomically(package / f"{name}.safetensors", content)
    digest = hashlib.sha256(content).hexdigest()
    hashes = package / "sha256.json"
    known = json.loads(hashes.read_text(encoding="utf-8")) if hashes.exists() else {}
    write_atomically(hashes, json.dumps({**known, name: digest}, indent=1, sort_keys=True) + "\n")
    return digest


if __name__ == "__main__":
    main()
