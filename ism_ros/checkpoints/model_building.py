"""Models of the transformers library with the tensors of a checkpoint: every key is accounted for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from torch import nn

from ism_ros.checkpoints.reading import StateDict
from ism_ros.errors import CheckpointError, first_line

Model = TypeVar("Model", bound=nn.Module)


def model_type(folder: Path) -> str:
    """Read the architecture that a folder says it is of.

    Args:
        folder: With a config.json.

    Returns:
        Its model_type.

    Raises:
        CheckpointError: There is no usable config.json.
    """
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
    """Load a model from a folder in the format of the transformers library.

    Args:
        kind: Class of the model, of the transformers library.
        path: Folder with config.json and model.safetensors.
        what: The model in words, for messages.
        larger: Model type of an architecture that `kind` is a part of; its folders are taken too, with what the library
            knows to be the rest of it left out.

    Returns:
        The model, float32 on the CPU, in eval mode and without gradients.

    Raises:
        CheckpointError: The folder is of another architecture, damaged, or lacks or has too many tensors.
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
        with _quiet_library():
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
def _quiet_library() -> Iterator[None]:
    """Keep the library from drawing a progress bar and from printing a table of what does not fit.

    Both would come between the lines of our own, and what does not fit is in our error.
    """
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
    """Build a model and give it the tensors of a checkpoint: each of its own, of the right shape, none left over.

    Args:
        make: Builds the model.
        state: Tensors under the library's keys.
        path: The checkpoint, for messages.
        what: The model in words, for messages.

    Returns:
        The model, float32 whatever the checkpoint is stored in, in eval mode and without gradients.

    Raises:
        CheckpointError: Keys or shapes differ; the message says what was expected and what was found.
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
