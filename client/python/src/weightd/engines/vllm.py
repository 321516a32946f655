"""vLLM: ``--load-format weightd``.

    vllm serve org/model --load-format weightd --model-loader-extra-config '{"policy": "wait"}'

The engine's own ``load_weights`` is fed with the tensors of the checkpoint as weightd has them in
memory, in the order of the file: fusing, sharding by rank and quantisation are the engine's, as with
files. Tried with vLLM 0.32 for the CPU, one rank. Found by vLLM through the entry point ``vllm.general_plugins``, in every process of it.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

from weightd._attachment import Attachment, FallbackWarning
from weightd.engines._options import LoaderOptions, default_device
from weightd.errors import CheckpointError, WeightdError

LOAD_FORMAT = "weightd"


def register() -> None:
    """The entry point. May be called many times."""
    from vllm.model_executor.model_loader import register_model_loader

    register_model_loader(LOAD_FORMAT)(_loader_class())


def _loader_class() -> Any:
    import torch
    from vllm.model_executor.model_loader.base_loader import BaseModelLoader

    class WeightdModelLoader(BaseModelLoader):  # type: ignore[misc]
        """Loads from memory that weightd keeps; see :class:`LoaderOptions`."""

        def __init__(self, load_config: Any) -> None:
            super().__init__(load_config)
            self._options = LoaderOptions.parse(load_config.model_loader_extra_config)

        def download_model(self, model_config: Any) -> None:
            """Nothing: the files are weightd's matter."""

        def load_weights(self, model: Any, model_config: Any) -> None:
            device = next(model.parameters()).device
            try:
                attached = self._options.attach(
                    model_config.model,
                    getattr(model_config, "revision", None),
                    default_device(str(device), _tensor_parallel_size()),
                    "vllm",
                )
            except WeightdError as error:
                if self._options.policy != "disk":
                    raise
                warnings.warn(
                    f"{model_config.model} is read from files: {error}", FallbackWarning, stacklevel=2
                )
                return self._load_from_files(model, model_config)
            with attached, torch.no_grad():
                loaded = model.load_weights(iter(attached.torch().items()))
                _check_all(model, model_config, loaded)
                if self._options.keep_lease:
                    model.weightd_attachment = _KeptLease(attached)

        def _load_from_files(self, model: Any, model_config: Any) -> None:
            from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

            files = replace(self.load_config, load_format="auto", model_loader_extra_config={})
            DefaultModelLoader(files).load_weights(model, model_config)

    return WeightdModelLoader


class _KeptLease:
    """Keeps memory and lease; no part of the module's state."""

    def __init__(self, attached: Attachment) -> None:
        self.tensors = list(attached.values())


def _tensor_parallel_size() -> int:
    from vllm.distributed import get_tensor_model_parallel_world_size

    return int(get_tensor_model_parallel_world_size())


def _check_all(model: Any, model_config: Any, loaded: Any) -> None:
    """As vLLM's own loader: parameters that no tensor filled are an error, where it can be told."""
    if model_config.quantization is not None or loaded is None:
        return
    missing = {name for name, _ in model.named_parameters()} - set(loaded)
    if missing:
        raise CheckpointError(
            f"{model_config.model}: the checkpoint in weightd has nothing for {', '.join(sorted(missing)[:5])}"
            f"{' and others' if len(missing) > 5 else ''}"
        )
