"""What engines are told with ``--model-loader-extra-config``, the same for all of them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Mapping, Optional, Union

from weightd._attachment import POLICIES, Attachment, attach
from weightd.errors import InvalidRequestError

@dataclass(frozen=True)
class LoaderOptions:
    """Keys of the JSON object; all are optional.

    ``model``       its name in weightd; or an object of such names by those of the engine, where it loads
                    several models (one that drafts). Default: the engine's model name, and its revision.
    ``policy``      for a model that is not resident: "require" (default), "wait", or "disk", the
                    engine's own loader, with a warning.
    ``timeout``     seconds, as in :func:`weightd.attach`.
    ``device``      where to attach: "cpu", "cuda:N", a GPU's UUID. Default: the GPU of the rank; the
                    host tier for a rank of several, which takes a part of each tensor alone.
    ``keep_lease``  keep memory and lease as long as the engine lives. Default: false, they go as soon
                    as the engine has its own copy.
    ``socket_dir``  of the daemon. Default: as in :func:`weightd.attach`.
    """

    model: Union[str, Mapping[str, str]] = ""
    policy: str = "require"
    timeout: Optional[float] = None
    device: str = ""
    keep_lease: bool = False
    socket_dir: str = ""

    @classmethod
    def parse(cls, extra: Optional[Mapping[str, Any]]) -> LoaderOptions:
        given = dict(extra or {})
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(given) - known)
        if unknown:
            raise InvalidRequestError(
                f"--model-loader-extra-config has {', '.join(unknown)}, which load format weightd does "
                f"not know; it has {', '.join(sorted(known))}"
            )
        options = cls(**given)
        if not isinstance(options.model, (str, Mapping)):
            raise InvalidRequestError(
                f"--model-loader-extra-config: model is {options.model!r}, wanted a name, or an object of names"
            )
        if options.policy not in POLICIES:
            raise InvalidRequestError(
                f"--model-loader-extra-config: policy is {options.policy!r}, wanted one of "
                f"{', '.join(POLICIES)}"
            )
        return options

    def name_of(self, model: str, revision: Optional[str], primary: bool = True) -> str:
        """What the engine calls ``model``, as weightd does. One that belongs to another model is not
        ``primary``: a name for that one is not its own."""
        if isinstance(self.model, str):
            name = self.model if primary else ""
        else:
            name = self.model.get(model, "")
        return name or (f"{model}@{revision}" if revision else model)

    def attach(self, name: str, device: str, client_name: str) -> Attachment:
        """``name`` is weightd's, ``device`` the engine's, where the options name none. Of policy "disk"
        the attach itself is "require": the files are the engine's to read."""
        return attach(
            name,
            self.device or device,
            policy="wait" if self.policy == "wait" else "require",
            timeout=self.timeout,
            socket_dir=self.socket_dir,
            client_name=client_name,
        )


def default_device(device: str, ranks: int) -> str:
    """Of a rank of several the host tier: each takes its part of every tensor, and a whole copy on each
    GPU would not fit beside it."""
    return "cpu" if ranks > 1 else device
