"""What can go wrong, as classes: catch the one that you can do something about.

Every error of this package is a :class:`WeightdError`. ``reason`` is the stable word of the
protocol (proto/weightd/v1/weight_cache.proto), ``code`` gRPC's name of the status; compare these,
not the text, which is for people.
"""

from __future__ import annotations

from typing import Mapping, Optional


class WeightdError(Exception):
    """An error of weightd: what was done, to what, and what went wrong."""

    #: The word of the protocol that this class stands for; empty for one that has none.
    default_reason = ""
    default_code = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        reason: str = "",
        metadata: Optional[Mapping[str, str]] = None,
    ) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.reason = reason or self.default_reason
        #: Numbers and names that belong to the reason, e.g. ``neededBytes``.
        self.metadata = dict(metadata or {})

    def __reduce__(self) -> tuple[object, ...]:
        # With what keywords gave: an error passes between processes whole.
        return (_restore, (type(self), self.args, self.__dict__))


def _restore(kind: type[WeightdError], args: tuple[object, ...], state: dict[str, object]) -> WeightdError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class UnreachableError(WeightdError, ConnectionError):
    """No daemon answers: it is not running, or the socket directory is another one."""

    default_reason = "UNREACHABLE"
    default_code = "UNAVAILABLE"


class DrainingError(UnreachableError):
    """The daemon shuts down."""

    default_reason = "DRAINING"


class NotPermittedError(WeightdError, PermissionError):
    """The daemon's allow-list does not name this user, or the sockets are not open to it."""

    default_reason = "PERMISSION_DENIED"
    default_code = "PERMISSION_DENIED"


class ModelNotFoundError(WeightdError, LookupError):
    """No such model below the daemon's roots."""

    default_reason = "MODEL_NOT_FOUND"
    default_code = "NOT_FOUND"


class ModelNotResidentError(WeightdError):
    """It is not in memory; ``policy="wait"`` has it staged."""

    default_reason = "MODEL_NOT_RESIDENT"
    default_code = "FAILED_PRECONDITION"


class ModelBusyError(WeightdError):
    """It is being evicted by force."""

    default_reason = "MODEL_BUSY"
    default_code = "FAILED_PRECONDITION"


class BudgetExceededError(WeightdError):
    """It does not fit, even after evicting what may go; ``metadata`` has the numbers."""

    default_reason = "BUDGET_EXCEEDED"
    default_code = "RESOURCE_EXHAUSTED"


class LimitExceededError(WeightdError):
    """A configured limit of the daemon: leases or jobs of a user, and the like."""

    default_reason = "LIMIT_EXCEEDED"
    default_code = "RESOURCE_EXHAUSTED"


class DeviceNotFoundError(WeightdError, LookupError):
    """No such device on the node, or this process does not see it."""

    default_reason = "DEVICE_NOT_FOUND"
    default_code = "NOT_FOUND"


class DeviceError(WeightdError):
    """The CUDA driver refused or failed."""

    default_reason = "DEVICE_FAILED"
    default_code = "INTERNAL"


class HandleUnusableError(WeightdError):
    """The memory cannot be opened from this process, e.g. in another PID namespace."""

    default_reason = "HANDLE_UNUSABLE"
    default_code = "FAILED_PRECONDITION"


class WaitTimeoutError(WeightdError, TimeoutError):
    """Not resident, or no answer, in time."""

    default_reason = "WAIT_TIMEOUT"
    default_code = "DEADLINE_EXCEEDED"


class CheckpointError(WeightdError):
    """The files cannot be used: invalid, changed meanwhile, unreadable, or no key for them."""

    default_reason = "CHECKPOINT_INVALID"
    default_code = "DATA_LOSS"


class IntegrityError(CheckpointError):
    """Bytes differ from what they should be."""

    default_reason = "INTEGRITY_FAILED"


class LeaseRevokedError(WeightdError):
    """An operator evicted the model by force."""

    default_reason = "LEASE_REVOKED"
    default_code = "ABORTED"


class LeaseLostError(WeightdError):
    """The lease ended although it was held: the daemon ended or dropped it."""

    default_code = "UNAVAILABLE"


class InvalidRequestError(WeightdError, ValueError):
    """An argument is none that can work."""

    default_reason = "INVALID_REQUEST"
    default_code = "INVALID_ARGUMENT"


class ProtocolError(WeightdError):
    """The daemon sent something inconsistent. Nothing is mapped."""

    default_code = "INTERNAL"


class ClosedError(WeightdError):
    """The attachment was closed; tensors taken from it before stay valid."""

    default_code = "FAILED_PRECONDITION"


class ForkedError(WeightdError):
    """In a process made by ``fork``: CUDA memory and gRPC do not survive it. Use ``spawn``."""

    default_code = "FAILED_PRECONDITION"


class UnsupportedDtypeError(WeightdError, TypeError):
    """The library that was asked for has no such element type."""

    default_code = "UNIMPLEMENTED"

    def __init__(self, message: str, *, tensor: str = "") -> None:
        super().__init__(message)
        #: Name of the tensor.
        self.tensor = tensor


_BY_REASON: dict[str, type[WeightdError]] = {
    kind.default_reason: kind
    for kind in (
        UnreachableError,
        DrainingError,
        NotPermittedError,
        ModelNotFoundError,
        ModelNotResidentError,
        ModelBusyError,
        BudgetExceededError,
        LimitExceededError,
        DeviceNotFoundError,
        DeviceError,
        HandleUnusableError,
        WaitTimeoutError,
        CheckpointError,
        IntegrityError,
        LeaseRevokedError,
        InvalidRequestError,
    )
}
_BY_REASON.update(
    MODEL_LEASED=ModelBusyError,
    CHECKPOINT_CHANGED=CheckpointError,
    READ_FAILED=CheckpointError,
    VOLUME_BUSY=WaitTimeoutError,
    VOLUME_STUCK=WaitTimeoutError,
    KEY_MISSING=CheckpointError,
    DIGEST_MISSING=CheckpointError,
    PATH_OUTSIDE_ROOT=InvalidRequestError,
    TICKET_INVALID=ProtocolError,
)
# Of a status without a reason.
_BY_CODE: dict[str, type[WeightdError]] = {
    "UNAVAILABLE": UnreachableError,
    "PERMISSION_DENIED": NotPermittedError,
    "DEADLINE_EXCEEDED": WaitTimeoutError,
    "INVALID_ARGUMENT": InvalidRequestError,
    "INTERNAL": ProtocolError,
}


def from_status(
    code: str, reason: str, message: str, metadata: Optional[Mapping[str, str]] = None
) -> WeightdError:
    """The error of a status: by its reason or, without one that is known, by its code."""
    kind = _BY_REASON.get(reason) or _BY_CODE.get(code, WeightdError)
    error = kind(message, code=code, metadata=metadata)
    error.reason = reason  # also where it is none of the class
    return error
