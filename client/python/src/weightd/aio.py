"""For servers on asyncio: nothing here holds up the event loop.

    async with await weightd.aio.attach("org/model", device="cuda:0", policy="wait") as m:
        state = m.torch()

A cancelled attach gives up the lease, and its stage where nobody else waits for it. Notices and
progress are called on the event loop.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, Callable, Optional

from weightd import _attachment
from weightd._attachment import Attachment
from weightd._stream import Notice, Progress

if TYPE_CHECKING:
    import torch


def _on_loop(callback: Optional[Callable[[Any], None]]) -> Optional[Callable[[Any], None]]:
    if callback is None:
        return None
    loop = asyncio.get_running_loop()

    def call(argument: Any) -> None:
        try:
            loop.call_soon_threadsafe(callback, argument)
        except RuntimeError:
            pass  # the loop is closed

    return call


async def attach(
    model: str,
    device: Any = None,
    *,
    on_notice: Optional[Callable[[Notice], None]] = None,
    on_progress: Optional[Callable[[Progress], None]] = None,
    **options: Any,
) -> Attachment:
    """As :func:`weightd.attach`, with the same options and errors."""
    cancelled = _attachment.Cancellation()
    run = functools.partial(
        _attachment.attach,
        model,
        device,
        on_notice=_on_loop(on_notice),
        on_progress=_on_loop(on_progress),
        cancellation=cancelled,
        **options,
    )
    work = asyncio.get_running_loop().run_in_executor(None, run)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        cancelled.cancel()
        work.add_done_callback(_drop)
        raise


def _drop(work: asyncio.Future[Attachment]) -> None:
    """Of an attach that nobody waits for any more."""
    if not work.cancelled() and work.exception() is None:
        work.result().close()


async def load_state_dict(
    model: str, device: Any = "cpu", *, skip_unsupported: bool = False, **options: Any
) -> dict[str, torch.Tensor]:
    """As :func:`weightd.load_state_dict`."""
    async with await attach(model, device, **options) as attachment:
        return attachment.torch(skip_unsupported=skip_unsupported)
