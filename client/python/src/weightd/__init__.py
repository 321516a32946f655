"""Attach to model weights that the node's weightd keeps in memory.

    import weightd
    with weightd.attach("org/model", device="cuda:0") as m:
        state = m.torch()           # dict[str, torch.Tensor], zero copy, read-only by contract
        head = m["lm_head.weight"]  # .torch() .numpy() .jax(), DLPack, array interfaces

Drop-ins: :func:`load_state_dict` and :func:`safe_open`. For asyncio: :mod:`weightd.aio`. Errors:
:mod:`weightd.errors`.
"""

from weightd._attachment import Attachment, FallbackWarning, attach
from weightd._loading import load_state_dict, safe_open
from weightd._stream import Notice, Progress
from weightd._tensor import Tensor
from weightd.errors import WeightdError

__version__ = "0.1.0"
__all__ = [
    "Attachment",
    "FallbackWarning",
    "Notice",
    "Progress",
    "Tensor",
    "WeightdError",
    "attach",
    "load_state_dict",
    "safe_open",
]
