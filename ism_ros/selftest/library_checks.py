"""Checks of Python, PyTorch and the libraries that models and rendering need."""

from __future__ import annotations

import platform
import shutil
import sys
from importlib.util import find_spec

from ism_ros.checkpoints.loaders.transformers_library import BEYOND, FIRST, NEEDED, leading_numbers
from ism_ros.selftest.findings import Finding, probe

MIN_PYTHON = (3, 10)
"""Oldest Python that is supported."""
MIN_TORCH = (2, 2)
"""Oldest PyTorch that is supported."""


def check_python() -> Finding:
    """Check the version of the interpreter."""
    found = f"{platform.python_version()}, {sys.executable}"
    if sys.version_info < MIN_PYTHON:
        return Finding("Python", "failed", found, f"install Python {_dotted(MIN_PYTHON)} or newer")
    return Finding("Python", "passed", found)


def check_torch() -> list[Finding]:
    """Check PyTorch, and the GPU as PyTorch finds it."""
    torch = probe(
        "import json, torch; c = torch.cuda; ok = c.is_available(); p = ok and c.get_device_properties(0); "
        "print(json.dumps({'version': torch.__version__, 'cuda': torch.version.cuda, "
        "'gpus': c.device_count() if ok else 0, 'name': p and p.name, 'memory': p and p.total_memory}))"
    )
    if torch.error:
        return [Finding("PyTorch", "failed", f"does not import ({torch.error})", "pip install torch")]
    version, cuda = torch.output["version"], torch.output["cuda"]
    if leading_numbers(version) < MIN_TORCH:
        advice = f"pip install 'torch>={_dotted(MIN_TORCH)}'"
        return [Finding("PyTorch", "failed", f"{version} is too old", advice)]
    pytorch = Finding("PyTorch", "passed", version)
    if torch.output["gpus"]:
        found = f"{torch.output['name']}, {torch.output['memory'] / 1e9:.0f} GB, CUDA {cuda}"
        return [pytorch, Finding("GPU", "passed", found)]
    if shutil.which("nvidia-smi") and not cuda:
        advice = "install a PyTorch with CUDA (pytorch.org, Get Started); until then models run on the CPU"
        return [
            pytorch,
            Finding("GPU", "warning", f"NVIDIA's driver is here, but PyTorch {version} has no CUDA", advice),
        ]
    if shutil.which("nvidia-smi"):
        advice = "run nvidia-smi: the driver may be too old for this CUDA, or the GPU not be free to use"
        return [pytorch, Finding("GPU", "warning", f"PyTorch has CUDA {cuda}, but sees no GPU", advice)]
    return [pytorch, Finding("GPU", "passed", "none: models run on the CPU")]


def check_transformers(needed: bool) -> Finding:
    """Check the transformers library, which has the architectures of the neural models.

    Args:
        needed: Whether the chosen models need it.

    Returns:
        One finding.
    """
    install = f"pip install '{NEEDED}'"
    repair = f"put PyTorch right first, where it has failed; then {install}"
    if find_spec("transformers") is None:
        if needed:
            return Finding("transformers", "failed", "not installed, and the chosen models need it", install)
        return Finding("transformers", "passed", "not installed: only neural models need it")
    library = probe(
        "import json; from ism_ros.checkpoints.loaders.transformers_library import without_torchvision; "
        "without_torchvision(); import transformers; from transformers import SamModel, Dinov2Model; "
        "print(json.dumps({'version': transformers.__version__}))"
    )
    if library.error:
        return Finding("transformers", "failed" if needed else "warning", f"broken ({library.error})", repair)
    version = library.output["version"]
    if not FIRST <= leading_numbers(version) < BEYOND:
        found = f"{version} is outside of what is supported, {_dotted(FIRST)} to below {_dotted(BEYOND)}"
        return Finding("transformers", "failed" if needed else "warning", found, install)
    return Finding("transformers", "passed", version)


def check_torchvision() -> Finding:
    """Check torchvision: it is not needed, and not imported where it was made for another PyTorch.

    Returns:
        One finding; a warning where other programs would break on it.
    """
    if find_spec("torchvision") is None:
        return Finding("torchvision", "passed", "not installed, and not needed")
    library = probe("import json, torchvision; print(json.dumps({'version': torchvision.__version__}))")
    if library.error:
        advice = "pip uninstall torchvision, or install the one made for this PyTorch, where something else uses it"
        found = f"does not match PyTorch ({library.error}); it is not needed here, but breaks what does need it"
        return Finding("torchvision", "warning", found, advice)
    return Finding("torchvision", "passed", f"{library.output['version']}, not needed")


def check_onnxruntime(needed: bool) -> Finding:
    """Check onnxruntime, for FastSAM exported to ONNX.

    Args:
        needed: Whether the chosen models need it.

    Returns:
        One finding.
    """
    if find_spec("onnxruntime") is None:
        if needed:
            advice = "pip install onnxruntime (onnxruntime-gpu with CUDA), for FastSAM-x.onnx"
            return Finding("onnxruntime", "warning", "not installed", advice)
        return Finding("onnxruntime", "passed", "not installed: only fastsam needs it")
    library = probe(
        "import json, onnxruntime as o; "
        "print(json.dumps({'version': o.__version__, 'providers': o.get_available_providers()}))"
    )
    if library.error:
        advice = "pip install --force-reinstall onnxruntime"
        return Finding("onnxruntime", "failed" if needed else "warning", f"broken ({library.error})", advice)
    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in library.output["providers"])
    return Finding("onnxruntime", "passed", f"{library.output['version']} ({providers})")


def check_embree(machine: str | None = None) -> Finding:
    """Check embreex, the ray tracer that renders templates.

    Args:
        machine: Architecture of the processor, such as x86_64; None = this one's.

    Returns:
        A warning where it is to be had for the processor and does not import.
    """
    library = probe("from embreex import mesh_construction, rtcore_scene; print('{}')")
    if not library.error:
        return Finding("embreex", "passed", "ray tracer for templates")
    if (machine or platform.machine()).lower() not in ("x86_64", "amd64"):
        return Finding("embreex", "passed", "not to be had for this processor: templates are rendered more slowly")
    advice = "pip install embreex"
    return Finding("embreex", "warning", f"does not import ({library.error}): templates render more slowly", advice)


def check_numba() -> Finding:
    """Check Numba, which compiles the loops that verify poses on the CPU.

    Returns:
        A warning where it does not import, as beside a NumPy that is newer than it knows.
    """
    library = probe("import json, numba; print(json.dumps({'version': numba.__version__}))")
    if not library.error:
        return Finding("Numba", "passed", f"{library.output['version']}, compiles loops for the CPU")
    advice = "pip install --upgrade numba; beside a NumPy that is too new for it also 'numpy<' the version it names"
    found = f"does not import ({library.error}): poses are verified several times more slowly on the CPU"
    return Finding("Numba", "warning", found, advice)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
