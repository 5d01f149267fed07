"""Networks run by onnxruntime, called as PyTorch calls them."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ism_ros.errors import CheckpointError, first_line
from ism_ros.networks import onnx_cache
from ism_ros.networks.execution_providers import CPU, PACKAGES, check_available, providers
from ism_ros.networks.onnx_export import NetworkExport
from ism_ros.runtime.cache_folder import DAMAGED
from ism_ros.runtime.model_request import NetworkRuntime

logger = logging.getLogger(__name__)


class OnnxSession:
    """An exported network. On a CPU each call has as many threads as PyTorch has in the calling thread."""

    def __init__(
        self,
        export: NetworkExport,
        device: torch.device,
        spinning: bool | None = None,
        runtime: NetworkRuntime = "onnxruntime",
        cache_dir: Path | None = None,
        bound: bool | None = None,
    ) -> None:
        """Load a network, exported before where the cache does not have it.

        Args:
            export: The network.
            device: Where it is to run.
            spinning: Whether threads spin while they wait, which is faster where no other program needs the cores;
                None = where OMP_WAIT_POLICY is ACTIVE, which is that of PyTorch's threads (runtime.threads).
            runtime: onnxruntime or tensorrt.
            cache_dir: Folder of the cache; None = nothing is kept.
            bound: Whether tensors are handed over where they are, instead of as arrays of NumPy; None = on a GPU.

        Raises:
            CheckpointError: The runtime cannot be used on this device; what is to be installed is told.
            ExportError: As `onnx_cache.onnx_file`.
        """
        try:
            import onnxruntime
        except ImportError:
            raise CheckpointError(f"runtime {runtime} needs {PACKAGES[CPU]}") from None
        self._runtime, self._device = runtime, device
        self._bound = device.type != "cpu" if bound is None else bound
        chosen = [name for name, _ in providers(runtime, device, export, Path())]
        check_available(runtime, device, chosen[0], onnxruntime.get_available_providers())
        self._export, self._cache_dir, self._spinning = export, cache_dir, spinning
        self._sessions: dict[int, Any] = {}
        self._lock = threading.Lock()
        self._session = self._of_threads(torch.get_num_threads())
        # what onnxruntime cannot load, as CUDA without cuDNN, it leaves out with nothing but a line on stderr
        check_available(runtime, device, chosen[0], self._session.get_providers())
        self._names, self._outputs = list(export.inputs), list(export.outputs)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the network.

        Args:
            *inputs: float32, on the device, in the order of the export.

        Returns:
            The outputs, on the device.
        """
        given = {name: value.contiguous() for name, value in zip(self._names, inputs, strict=True)}
        if self._bound:
            return self._run_bound(given)
        session = self._of_threads(torch.get_num_threads())
        found = session.run(None, {name: value.numpy() for name, value in given.items()})
        return tuple(torch.from_numpy(output) for output in found)

    def threads_of_sessions(self) -> list[int]:
        """Return with how many threads the network was loaded so far, the last one last."""
        return list(self._sessions)

    def _of_threads(self, threads: int) -> Any:
        """Session with some number of threads; onnxruntime does not take it with each call."""
        with self._lock:
            if threads not in self._sessions:
                self._sessions[threads] = self._load(threads)
            return self._sessions[threads]

    def _load(self, threads: int, is_last_try: bool = False) -> Any:
        export, cache_dir = self._export, self._cache_dir
        with onnx_cache.onnx_file(export, cache_dir) as file:
            try:
                return self._session_of(file, threads)
            except Exception as error:  # onnxruntime's errors have no common base but this
                reason = first_line(error)
                if is_last_try or cache_dir is None:
                    text = f"runtime {self._runtime} cannot load network '{export.name}': {reason}"
                    raise CheckpointError(text) from error
                logger.warning("%s cannot be loaded (%s): exported again", file, reason, extra={"reason": DAMAGED})
                onnx_cache.remove(file)
        return self._load(threads, is_last_try=True)

    def _session_of(self, file: Path, threads: int) -> Any:
        import onnxruntime

        chosen = providers(self._runtime, self._device, self._export, file.parent)
        options = _options(self._spinning, threads)
        return onnxruntime.InferenceSession(str(file), options, providers=list(chosen))

    def _run_bound(self, given: dict[str, Tensor]) -> tuple[Tensor, ...]:
        import numpy as np

        place = self._device.type, self._device.index or 0
        binding = self._session.io_binding()
        for name, value in given.items():
            binding.bind_input(name, *place, np.float32, tuple(value.shape), value.data_ptr())
        for name in self._outputs:
            binding.bind_output(name, *place)
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()  # onnxruntime has a stream of its own
        self._session.run_with_iobinding(binding)
        return tuple(torch.from_dlpack(output) for output in binding.get_outputs())


def _options(spinning: bool | None, threads: int) -> Any:
    import onnxruntime

    if spinning is None:
        spinning = os.environ.get("OMP_WAIT_POLICY", "").upper() == "ACTIVE"
    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return options
