"""What the loaders of vLLM and SGLang have in common: both engines have a ``DefaultModelLoader`` whose
``_get_weights_iterator(source)`` reads the files of a source. Only that is replaced: fusing, sharding by
rank, quantisation, further sources of a model and checks stay the engine's."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, Iterable, Iterator

from weightd._attachment import Attachment, FallbackWarning
from weightd.engines._options import LoaderOptions, default_device
from weightd.errors import InvalidRequestError, WeightdError

LOAD_FORMAT = "weightd"


class WeightdSource:
    """Goes before the engine's ``DefaultModelLoader`` among the bases of a class.

    To that loader the load format is "auto", so that it reads files where policy "disk" says so.
    """

    client_name = ""

    def __init__(self, load_config: Any) -> None:
        self._options = LoaderOptions.parse(load_config.model_loader_extra_config)
        super().__init__(replace(load_config, load_format="auto", model_loader_extra_config={}))  # type: ignore[call-arg]
        self._primary: str | None = None
        self._device = ""
        self._kept: list[_KeptLease] = []

    def download_model(self, model_config: Any) -> None:
        """Nothing: the files are weightd's matter."""

    def ranks(self) -> int:
        """Tensor-parallel ranks."""
        raise NotImplementedError

    def weights_of(self, model: Any, primary: str, weights: Iterable[Any]) -> Iterator[Any]:
        """``weights`` are what ``_get_weights_iterator`` gives for all sources of ``model``, which is
        called ``primary``."""
        self._primary = primary
        self._device = str(next(model.parameters()).device)
        yield from weights
        if self._kept:
            model.weightd_attachments = self._kept

    def _get_weights_iterator(self, source: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        try:
            attached = self._attach(source)
        except WeightdError as error:
            if self._options.policy != "disk":
                raise
            message = f"{source.model_or_path} is read from files: {error}"
            warnings.warn(message, FallbackWarning, stacklevel=2)
            yield from super()._get_weights_iterator(source, *args, **kwargs)  # type: ignore[misc]
            return
        with attached:
            for name, tensor in attached.torch().items():
                yield source.prefix + name, tensor
            if self._options.keep_lease:
                self._kept.append(_KeptLease(attached))

    def _attach(self, source: Any) -> Attachment:
        if getattr(source, "subfolder", None):
            raise InvalidRequestError(
                f"{source.model_or_path}: the engine wants subfolder {source.subfolder} alone; weightd has "
                f"models as a whole: use another load format"
            )
        primary = self._primary in (None, source.model_or_path)
        name = self._options.name_of(source.model_or_path, source.revision, primary)
        device = default_device(self._device or _current_device(), self.ranks())
        return self._options.attach(name, device, self.client_name)


class _KeptLease:
    """Keeps memory and lease; no part of the module's state."""

    def __init__(self, attached: Attachment) -> None:
        self.tensors = list(attached.values())


def _current_device() -> str:
    import torch

    return f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"
