"""Trains the networks of the pair `tiny`.

    python -m training.train segmentor  --data DIR --output RUN --minutes 60
    python -m training.train descriptor --data DIR --output RUN --minutes 50

On two cores with bfloat16 that is the whole recipe. On a GPU: --device cuda --batch 128 for the segmentor, 64 for the
descriptor. All data is kept on the device, about 1 MB a scene and 1.6 MB an object; what make_data finishes meanwhile
is taken in with every epoch, so that both can run at the same time. A run goes on from RUN/checkpoint.pt where there is
one; --minutes counts all of its runs together, and the learning rate falls over them, so that stopping and going on
changes nothing but the random numbers.

RUN/checkpoint.pt    everything needed to go on, about every two minutes
RUN/weights.safetensors   the averaged weights (exponential moving average), float16, for the runtime
RUN/log.jsonl, RUN/curves.png, RUN/run.json   losses and validation; the command, commit, hardware, time, metrics
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from training.run_record import commit_of_checkout
from training.trainer import Task, fit


def main() -> None:
    """Train as asked for on the command line."""
    options = _options()
    options.commit = options.commit or commit_of_checkout()
    torch.manual_seed(options.seed)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.network == "segmentor":
        from training.tasks.segmentor_task import SegmentorTask

        task: Task = SegmentorTask(options)
    else:
        from training.tasks.descriptor_task import DescriptorTask

        task = DescriptorTask(options)
    fit(task, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=["segmentor", "descriptor"])
    parser.add_argument("--data", type=Path, required=True, help="what training.make_data wrote")
    parser.add_argument("--output", type=Path, required=True, help="folder of the run")
    parser.add_argument("--minutes", type=float, default=60.0, help="of training in all (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=0, help="images or objects a batch; 0 = what suits two cores")
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate (default: %(default)s)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; 0 = as it chooses")
    parser.add_argument("--start", type=Path, help="weights of another run to begin with, where names and shapes fit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commit", default="", help="of this code, for the record, where it is no checkout of git")
    parser.add_argument("--float32", action="store_true", help="no bfloat16")
    parser.add_argument("--validate-only", action="store_true", help="validate the weights of the run and stop")
    return parser.parse_args()


if __name__ == "__main__":
    main()
