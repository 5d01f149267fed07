"""Checkpoint files into models: nothing but tensors is read, and every key is accounted for."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ism_ros.checkpoints.catalog import CHECKPOINTS
from ism_ros.errors import CheckpointError, first_line

StateDict = dict[str, Tensor]
Model = TypeVar("Model", bound=nn.Module)

ARCHIVE_START, PICKLE_START = b"PK\x03\x04", b"\x80"
"""First bytes of ZIP archives and of pickles."""


def read_state_dict(file: Path) -> StateDict:
    """The tensors of a .pth, .pt or .safetensors file, on the CPU.

    Pickled code is never run. A file that holds {"model": tensors} gives its tensors. Raises CheckpointError.
    """
    if not file.is_file():
        raise CheckpointError(f"checkpoint {file} does not exist")
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    archive = _is_archive(file)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=archive)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"checkpoint {file} holds more than tensors (a pickled program) and is not loaded; "
            "take the official file of the weights alone"
        ) from None
    except (OSError, RuntimeError, EOFError, KeyError, ValueError) as error:
        raise _damaged(file, first_line(error)) from None
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"checkpoint {file} is not a table of tensors; is it the official file?")
    return dict(content)


def _is_archive(file: Path) -> bool:
    """Whether `file` is a ZIP archive, as PyTorch writes them since 1.6, and not the single pickle of before.

    Raises CheckpointError where it is neither: what PyTorch says of such files is long, and advises to trust them.
    """
    try:
        with file.open("rb") as stream:
            start = stream.read(24)
    except OSError as error:
        raise CheckpointError(f"checkpoint {file} cannot be read: {error.strerror}") from None
    if zipfile.is_zipfile(file):
        return True
    if start.startswith(ARCHIVE_START):
        raise _damaged(file, "its end is missing")
    if not start:
        raise _damaged(file, "it is empty")
    if not start.startswith(PICKLE_START):
        raise CheckpointError(
            f"checkpoint {file} is no file of PyTorch, it begins with {start!r}: a web page, perhaps, or what stands "
            "for the file in a repository; delete it and get it again (`ism weights verify` says how)"
        )
    return False


def _damaged(file: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {file} is damaged or half downloaded ({reason}); "
        "delete it and get it again (`ism weights verify` says how)"
    )


def _read_safetensors(file: Path) -> StateDict:
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise _damaged(file, first_line(error)) from None


def fingerprint(path: Path) -> str:
    """Names what a checkpoint file, or the weights in a folder, hold, whatever the file is called.

    A .pth is a zip archive that has a checksum of every tensor in its index: nothing more is read. Other files are
    read whole.
    """
    digest = hashlib.blake2b(digest_size=16)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                digest.update(f"{entry.filename.partition('/')[2]} {entry.file_size} {entry.CRC}\n".encode())
        return digest.hexdigest()
    # large models come in several files
    for file in sorted(path.glob("*.safetensors")) if path.is_dir() else [path]:
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def require(state: StateDict, keys: Iterable[str], what: str, path: Path) -> None:
    """Raises CheckpointError where `state` lacks one of `keys`, by which a checkpoint of `what` is known."""
    missing = [key for key in keys if key not in state]
    if missing:
        found = ", ".join(list(state)[:3]) or "nothing"
        raise CheckpointError(
            f"checkpoint {path} is not {what}: expected the key '{missing[0]}', found {len(state)} keys such as {found}"
        )


def require_size(family: str, found: str | None, path: Path) -> None:
    """Raises CheckpointError where a file has the official name of one size of `family`, and the tensors of another.

    found: the published size that the tensors are of; None = of none.
    """
    for checkpoint in CHECKPOINTS.values():
        if checkpoint.family == family and checkpoint.file_name == path.name and found not in (None, checkpoint.model):
            raise CheckpointError(
                f"checkpoint {path} is of another size than its name says: expected {checkpoint.name}, found "
                f"{family}/{found}; put the official file there (`ism weights verify` says how)"
            )


def count_blocks(state: StateDict, prefix: str) -> int:
    """How many numbered blocks there are: keys `prefix` + number + '.'"""
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
    return 1 + max((int(match[1]) for key in state if (match := pattern.match(key))), default=-1)


def renamed(state: StateDict, rules: Sequence[tuple[str, str]]) -> StateDict:
    """`state` with every key rewritten by the rules (regular expression, replacement), each applied in order.

    Keys that no rule fits stay as they are: what is wrong with them shows when they are loaded.
    """
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]
    result: StateDict = {}
    for key, value in state.items():
        name = key
        for pattern, replacement in compiled:
            name = pattern.sub(replacement, name)
        result[name] = value
    return result


def split_qkv(state: StateDict, fused: str, parts: tuple[str, str, str]) -> StateDict:
    """`state` with projections of queries, keys and values apart, as the library keeps them.

    fused: the last name of the module in which they are stacked, parts: the three names in its place.
    """
    result: StateDict = {}
    for key, value in state.items():
        head, dot, tail = key.rpartition(f"{fused}.")
        if dot and (head == "" or head.endswith(".")):
            for part, piece in zip(parts, value.chunk(3), strict=True):
                result[f"{head}{part}.{tail}"] = piece
        else:
            result[key] = value
    return result


def model_type(folder: Path) -> str:
    """Which architecture a folder with a config.json says it is of."""
    return str(_read_config(folder).get("model_type"))


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint folder {folder} has no usable config.json ({first_line(error)}); "
            "it needs config.json and model.safetensors"
        ) from None
    return content


def load_folder(kind: Any, path: Path, what: str, larger: str = "") -> Any:
    """The model of class `kind` (of the transformers library) in a folder with config.json and model.safetensors.

    larger: model type of an architecture that `kind` is a part of; its folders are taken too, with what the library
    knows to be the rest of it left out.
    """
    from huggingface_hub.errors import StrictDataclassError

    content = _read_config(path)
    found = str(content.get("model_type"))
    expected = kind.config_class.model_type
    if found not in {expected, larger}:
        raise CheckpointError(
            f"checkpoint folder {path} is not {what}: expected model_type '{expected}', found '{found}'"
        )
    options: dict[str, Any] = {}
    try:
        if found == larger:
            parts = kind.config_class.sub_configs
            options["config"] = kind.config_class(**{part: content[part] for part in parts if part in content})
        with _without_words():
            model, report = kind.from_pretrained(
                path,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                **options,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        raise CheckpointError(f"checkpoint folder {path} cannot be read: {first_line(error)}") from None
    shapes = [(key, wanted, shape) for key, shape, wanted in report["mismatched_keys"]]
    if report["missing_keys"] or report["unexpected_keys"] or shapes:
        raise CheckpointError(
            f"checkpoint folder {path} does not fit {what}: "
            + _differences(sorted(report["missing_keys"]), sorted(report["unexpected_keys"]), shapes)
        )
    return model.eval().requires_grad_(False)


@contextmanager
def _without_words() -> Iterator[None]:
    """Keeps the library from drawing a progress bar and from printing a table of what does not fit: both would come
    between our own lines, and what does not fit is in our error."""
    from transformers.utils import logging

    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def build(make: Callable[[], Model], state: StateDict, path: Path, what: str) -> Model:
    """The model that `make` builds, with the tensors of `state`: each of its own, of the right shape, none left over.

    In float32, whatever the checkpoint is stored in.

    what: the model in words, for the CheckpointError that says what was expected and what was found.
    """
    from transformers.initialization import no_init_weights

    with no_init_weights():
        model = make()
    expected = model.state_dict()
    missing, unexpected = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    differing = [key for key in expected.keys() & state.keys() if expected[key].shape != state[key].shape]
    if missing or unexpected or differing:
        shapes = [(key, tuple(expected[key].shape), tuple(state[key].shape)) for key in sorted(differing)]
        raise CheckpointError(f"checkpoint {path} does not fit {what}: " + _differences(missing, unexpected, shapes))
    model.load_state_dict({key: value.float() for key, value in state.items()}, assign=True)
    return model.eval().requires_grad_(False)


def _differences(missing: Sequence[str], unexpected: Sequence[str], differing: Sequence[tuple[str, Any, Any]]) -> str:
    parts = []
    if missing:
        parts.append(f"{len(missing)} keys are missing ({missing[0]}, ...)")
    if unexpected:
        parts.append(f"{len(unexpected)} keys are not known ({unexpected[0]}, ...)")
    if differing:
        key, wanted, found = differing[0]
        parts.append(f"{len(differing)} shapes differ ({key}: expected {wanted}, found {found})")
    return "; ".join(parts)
