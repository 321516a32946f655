"""Drop-ins for code that was written to load files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator, Optional

from weightd._attachment import Attachment, attach
from weightd._tensor import Tensor
from weightd.errors import InvalidRequestError

if TYPE_CHECKING:
    import torch


def load_state_dict(
    model: str, device: Any = "cpu", *, skip_unsupported: bool = False, **options: Any
) -> dict[str, torch.Tensor]:
    """The model's state dict, without a copy; in place of ``torch.load`` and
    ``safetensors.torch.load_file``. ``skip_unsupported`` as in :meth:`Attachment.torch`; ``options``
    are those of :func:`weightd.attach`.

    The tensors keep memory and lease as long as any of them lives. They are read-only by contract:
    give them to ``module.load_state_dict(..., assign=True)``, or copy what is to be trained.
    """
    with attach(model, device, **options) as attachment:
        return attachment.torch(skip_unsupported=skip_unsupported)


def _as_torch(tensor: Tensor) -> Any:
    return tensor.torch()


def _as_numpy(tensor: Tensor) -> Any:
    return tensor.numpy()


def _as_jax(tensor: Tensor) -> Any:
    return tensor.jax()


_FRAMEWORKS = {
    "pt": _as_torch,
    "torch": _as_torch,
    "pytorch": _as_torch,
    "np": _as_numpy,
    "numpy": _as_numpy,
    "jax": _as_jax,
    "flax": _as_jax,
}


class safe_open:  # noqa: N801 - the name that it stands in for
    """``safetensors.safe_open`` over an attached model: the same methods, no file and no copy.

        with weightd.safe_open("org/model", framework="pt", device="cuda:0") as f:
            for name in f.keys():
                tensor = f.get_tensor(name)

    All shards of a checkpoint are one. ``options`` are those of :func:`weightd.attach`. Thread-safe.
    """

    def __init__(self, filename: str, framework: str = "pt", device: Any = "cpu", **options: Any) -> None:
        if framework not in _FRAMEWORKS:
            raise InvalidRequestError(f"framework is {framework!r}, wanted one of {', '.join(_FRAMEWORKS)}")
        self._convert = _FRAMEWORKS[framework]
        self._attachment: Attachment = attach(str(filename), device, **options)

    def keys(self) -> list[str]:
        """Names, sorted."""
        return sorted(self._attachment)

    def offset_keys(self) -> list[str]:
        """Names, in the order of their data."""
        return list(self._attachment)

    def metadata(self) -> Optional[dict[str, str]]:
        return self._attachment.metadata or None

    def get_tensor(self, name: str) -> Any:
        return self._convert(self._find(name))

    def get_slice(self, name: str) -> Slice:
        return Slice(self._find(name), self._convert)

    def _find(self, name: str) -> Tensor:
        try:
            return self._attachment[name]
        except KeyError:
            raise KeyError(f"{self._attachment.model} has no tensor {name!r}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self._attachment)

    def __contains__(self, name: object) -> bool:
        return name in self._attachment

    def __enter__(self) -> safe_open:
        return self

    def __exit__(self, *_: object) -> None:
        self._attachment.close()


class Slice:
    """A tensor of which parts are taken: ``f.get_slice(name)[:, 100:200]`` is a view."""

    def __init__(self, tensor: Tensor, convert: Any) -> None:
        self._tensor = tensor
        self._convert = convert

    def get_shape(self) -> list[int]:
        return list(self._tensor.shape)

    def get_dtype(self) -> str:
        return self._tensor.dtype

    def __getitem__(self, index: Any) -> Any:
        return self._convert(self._tensor)[index]
