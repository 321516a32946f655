"""What tensors keep alive: a lease and the memory that it is on."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Optional, Sequence

from weightd._memory import Region
from weightd._stream import AttachStream
from weightd.errors import ForkedError


class Lease:
    """Held by attachments, tensors and whatever libraries made of them; gone with the last of these:
    memory is unmapped first, then the lease ends.

    After ``fork`` host memory stays readable in the child, which keeps the pages, not the lease: that
    is the parent's, and the child never ends it. GPU memory and gRPC do not survive a fork.
    """

    def __init__(self, regions: Sequence[Region], stream: Optional[AttachStream]) -> None:
        self.regions = tuple(regions)
        self._stream = stream
        self._pid = os.getpid()
        finalizer = weakref.finalize(self, _end, self.regions, stream, self._pid)
        # At the end of the process the kernel does both, and nothing is unmapped under a thread that
        # still computes.
        finalizer.atexit = False

    @property
    def held(self) -> bool:
        """Whether the daemon still holds it for this process."""
        return self._stream is not None and os.getpid() == self._pid and self._stream.held

    def check_usable(self) -> None:
        """Raises :class:`ForkedError` where the memory cannot be used in this process."""
        if os.getpid() != self._pid and any(region.ordinal is not None for region in self.regions):
            raise ForkedError(
                "GPU memory was attached before fork(): CUDA does not survive it. Attach in the new "
                'process, started with "spawn" or "forkserver"'
            )

    def buffer(self, index: int) -> Any:
        """Of a region in host memory; keeps this lease."""
        return self.regions[index].buffer(self)


def _end(regions: Sequence[Region], stream: Optional[AttachStream], pid: int) -> None:
    if os.getpid() != pid:
        return  # its threads, its connection and its CUDA context are the parent's
    for region in regions:
        region.close()
    if stream is None:
        return
    try:
        # Elsewhere: the garbage collector may let the last tensor go on a thread that holds gRPC's
        # locks.
        threading.Thread(target=stream.close, name="weightd-close", daemon=True).start()
    except RuntimeError:
        pass  # the interpreter ends, and the connection with it
