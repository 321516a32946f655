"""gRPC, in processes that fork.

gRPC's own support for fork() is off where we load it first: with it, grpcio 1.80 on Python 3.9 was
seen to abort child processes, those that subprocess starts included (handlers that run between fork
and exec). Without it a child cannot call through what its parent began, which we refuse instead of
letting it wait. GRPC_ENABLE_FORK_SUPPORT=1 in the environment has it the other way.
"""

from __future__ import annotations

import os
import sys
from typing import Optional

from weightd.errors import ForkedError

_VARIABLE = "GRPC_ENABLE_FORK_SUPPORT"

if "grpc" not in sys.modules:
    os.environ.setdefault(_VARIABLE, "0")

import grpc  # noqa: E402

__all__ = ["check_grpc_usable", "grpc"]

_used_by: Optional[int] = None


def check_grpc_usable() -> None:
    """Before each call: :class:`ForkedError` in a child whose parent has used gRPC through us."""
    global _used_by
    pid = os.getpid()
    if _used_by is None:
        _used_by = pid
    if _used_by != pid and os.environ.get(_VARIABLE) != "1":
        raise ForkedError(
            "this process was forked from one that had attached before: gRPC does not survive fork(). "
            f'Start it with "spawn" or "forkserver", attach in the children alone, or set {_VARIABLE}=1'
        )
