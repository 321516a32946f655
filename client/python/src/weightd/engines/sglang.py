"""SGLang: ``--load-format weightd``.

    python -m sglang.launch_server --model-path org/model --load-format weightd \\
        --model-loader-extra-config '{"policy": "wait"}'

As for vLLM. Found by SGLang through the entry point ``sglang.srt.plugins``, in every process of it.
SGLang knows its load formats by an enumeration, but takes a loader's class in place of one: a hook
puts it there.
"""

from __future__ import annotations

import functools
from typing import Any, Iterator

from weightd.engines._loader import LOAD_FORMAT, WeightdSource


def register() -> None:
    """The entry point; SGLang calls it once in a process."""
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType
    from sglang.srt.server_args import add_load_format_choices

    add_load_format_choices([LOAD_FORMAT])
    HookRegistry.register(
        "sglang.srt.configs.load_config.LoadConfig.__post_init__", _put_loader_class, HookType.BEFORE
    )


def _put_loader_class(load_config: Any) -> None:
    if load_config.load_format == LOAD_FORMAT:
        load_config.load_format = _loader_class()


@functools.lru_cache(maxsize=None)
def _loader_class() -> Any:
    from sglang.srt.model_loader.loader import DefaultModelLoader
    from sglang.srt.runtime_context import get_parallel

    class WeightdModelLoader(WeightdSource, DefaultModelLoader):  # type: ignore[misc]
        client_name = "sglang"

        def ranks(self) -> int:
            return int(get_parallel().tp_size)

        def _get_all_weights(self, model_config: Any, model: Any) -> Iterator[Any]:
            weights = super()._get_all_weights(model_config, model)
            return self.weights_of(model, model_config.model_path, weights)

    return WeightdModelLoader
