"""Milliseconds and memory of the scores of one frame: SAM-6D's and NOCTIS's, at several numbers of known objects.

    python benchmarks/components/bench_scoring.py
    python benchmarks/components/bench_scoring.py --proposals 50 --patches 64 --size 270 --objects 1 5
    python benchmarks/components/bench_scoring.py --valid 1.0      no patch outside a mask

Tokens are random, every object is a candidate for every proposal, and all objects share one set of patch tokens, so
that a hundred fit into memory. Defaults are the tokens of DINOv2 ViT-L. Only the scores are timed, from class tokens
and patch tokens to each proposal's object, template, semantic and appearance score; no geometry, no descriptor. Memory
is the growth of the process's peak over what it held before, each row in a process of its own; the library's own
patch tokens are a column of their own and come on top.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ism_ros.runtime.threads import configure_thread_env

configure_thread_env()
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for common

import psutil
import torch
from common.measuring import in_subprocess, machine, print_table, write_json

from ism_ros.matching.base import Matches
from ism_ros.matching.noctis import match_noctis
from ism_ros.matching.sam6d import match_sam6d
from ism_ros.matching.scores.similarity import pairwise_similarity
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.library import ObjectLibrary
from ism_ros.runtime.memory import peak_bytes

MATCH: dict[str, Callable[..., Matches]] = {"sam6d": match_sam6d, "noctis": match_noctis}
TEMPLATES = 42


def main() -> None:
    """Print and write a row for each number of objects and scoring method."""
    options = _options()
    rows = [
        in_subprocess(_measure, scoring, objects, options, threads=options.threads)
        for objects in options.objects
        for scoring in MATCH
    ]
    title = (
        f"{options.proposals} proposals, {TEMPLATES} templates an object, {options.patches} patches of {options.size}, "
        f"{options.valid:.0%} valid; {machine(options.threads)}"
    )
    print_table(title, rows)
    write_json("bench_scoring", {"title": title, "rows": rows})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proposals", type=int, default=100, help="default: %(default)s")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 10, 100], help="default: 1 10 100")
    parser.add_argument("--patches", type=int, default=256, help="patches a crop, a square (default: %(default)s)")
    parser.add_argument("--size", type=int, default=1024, help="numbers a token (default: %(default)s)")
    parser.add_argument("--valid", type=float, default=0.6, help="share of patches in the mask (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; 0 = as PyTorch chooses")
    parser.add_argument("--repeats", type=int, default=1, help="the median is printed (default: %(default)s)")
    return parser.parse_args()


def _measure(scoring: str, objects: int, options: argparse.Namespace) -> dict[str, Any]:
    patches = _patches(TEMPLATES, options)
    # positive: every object is a candidate
    known = [KnownObject(str(k), k, torch.rand(TEMPLATES, options.size), patches) for k in range(objects)]
    library = ObjectLibrary(tuple(known))
    query, query_patches = torch.rand(options.proposals, options.size), _patches(options.proposals, options)
    before = psutil.Process().memory_info().rss
    spent = []
    for _ in range(options.repeats):
        start = time.perf_counter()
        pairwise = pairwise_similarity(query, library.class_tokens)
        MATCH[scoring](pairwise, query_patches, library, 0.2)
        spent.append(time.perf_counter() - start)
    peak = peak_bytes()
    return {
        "objects": objects,
        "scoring": scoring,
        "ms": round(statistics.median(spent) * 1000),
        "memory, MiB": round(max(0, peak - before) / 2**20),
        "library, MiB": round(objects * patches.numel() * patches.element_size() / 2**20),
    }


def _patches(count: int, options: argparse.Namespace) -> torch.Tensor:
    tokens = torch.nn.functional.normalize(torch.randn(count, options.patches, options.size), dim=-1)
    return tokens * (torch.rand(count, options.patches, 1) < options.valid)


if __name__ == "__main__":
    main()
