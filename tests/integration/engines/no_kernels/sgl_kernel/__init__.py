"""In place of SGLang's kernels, of which PyPI has no build for CPUs: so much as SGLang imports.

On a CPU it computes with PyTorch alone (attention backend torch_native), and calls none of these.
"""

from __future__ import annotations

from typing import Any, Callable


def __getattr__(name: str) -> Callable[..., Any]:
    if name.startswith("__"):
        raise AttributeError(name)

    def refuse(*_: Any, **__: Any) -> Any:
        raise NotImplementedError(f"sgl_kernel.{name}: there is no build of it for this processor")

    return refuse
