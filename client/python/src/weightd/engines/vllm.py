"""vLLM: ``--load-format weightd``.

    vllm serve org/model --load-format weightd --model-loader-extra-config '{"policy": "wait"}'

The engine's own ``load_weights`` is fed with the tensors of the checkpoint as weightd has them in
memory, in the order of the file. :class:`LoaderOptions` has the keys of the extra config. Found by
vLLM through the entry point ``vllm.general_plugins``, in every process of it.
"""

from __future__ import annotations

from typing import Any, Iterator

from weightd.engines._loader import LOAD_FORMAT, WeightdSource


def register() -> None:
    """The entry point. May be called many times."""
    from vllm.model_executor.model_loader import register_model_loader

    register_model_loader(LOAD_FORMAT)(_loader_class())


def _loader_class() -> Any:
    from vllm.distributed import get_tensor_model_parallel_world_size
    from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

    class WeightdModelLoader(WeightdSource, DefaultModelLoader):  # type: ignore[misc]
        client_name = "vllm"

        def ranks(self) -> int:
            return int(get_tensor_model_parallel_world_size())

        def get_all_weights(self, model_config: Any, model: Any) -> Iterator[Any]:
            weights = super().get_all_weights(model_config, model)
            return self.weights_of(model, model_config.model, weights)

    return WeightdModelLoader
