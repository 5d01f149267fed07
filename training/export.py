"""Exports the weights of a run into the package, with their hash and the record of the run.

    python -m training.export segmentor RUN
    python -m training.export descriptor RUN --start OLD.safetensors --share 0.5

The second averages the weights of a run with those that it began with, which does better on what is unlike the training
data than either (Wortsman et al., Robust fine-tuning of zero-shot models, 2022).

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

from safetensors.torch import load, load_file, save

from ism_ros.runtime.atomic_files import write_atomically
from training.network_inputs import with_more_inputs

WEIGHTS = Path(__file__).parents[1] / "ism_ros" / "checkpoints" / "shipped_weights"
"""Where the weights are that ship with the package: those of this checkout, not of an installed package."""
RECORD = Path(__file__).parent / "record"
"""Where the records of the shipped weights are."""


def main() -> None:
    """Export as asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=["segmentor", "descriptor"])
    parser.add_argument("run", type=Path)
    parser.add_argument("--start", type=Path, help="weights that the run began with, of the same network")
    parser.add_argument("--share", type=float, default=1.0, help="of the run in the average (default: %(default)s)")
    options = parser.parse_args()
    start = (options.start, options.share) if options.start else None
    print(export_weights(options.network, options.run, WEIGHTS, RECORD, start))


def export_weights(name: str, run: Path, package: Path, record: Path, start: tuple[Path, float] | None = None) -> str:
    """Copy weights and records of a run; each file appears whole or not at all.

    Args:
        name: segmentor or descriptor.
        run: Folder that training.train wrote.
        package: Folder of the shipped weights.
        record: Folder of the records.
        start: Weights that the run began with, and the share of the run in the average with them; None = the run alone.

    Returns:
        SHA-256 of the weights, hexadecimal.
    """
    content = (run / "weights.safetensors").read_bytes()
    digest = ship_weights(name, content if start is None else averaged_weights(content, *start), package)
    ran = json.loads((run / "run.json").read_text(encoding="utf-8"))
    ran["command"] = re.sub(r"(?:/[\w.-]+)+/([\w.-]+)", r"\1", ran["command"])
    if start is not None:
        ran["share_in_average_with_start"] = start[1]
    ran["weights_sha256"] = digest
    write_atomically(record / f"{name}.json", json.dumps(ran, indent=1) + "\n")
    write_atomically(record / f"{name}.png", (run / "curves.png").read_bytes())
    return digest


def averaged_weights(content: bytes, start: Path, share: float) -> bytes:
    """Average weights with others.

    Args:
        content: Of a .safetensors file.
        start: The others, of the same names and shapes, or with fewer inputs, whose weights are 0 then.
        share: Of the first in the average.

    Returns:
        Content of a .safetensors file, float16.
    """
    others, averaged = load_file(start), {}
    for name, value in load(content).items():
        other = with_more_inputs(others[name].float(), value)
        averaged[name] = (share * value.float() + (1 - share) * other).half().contiguous()
    return save(averaged)


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
