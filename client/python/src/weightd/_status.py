"""From gRPC's errors to ours."""

from __future__ import annotations

from typing import Any, Iterator

from weightd.errors import WeightdError, from_status

_DETAILS_KEY = "grpc-status-details-bin"
_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_DOMAIN = "weightd"


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a message (protobuf.dev/programming-guides/encoding).

    google.rpc.Status and ErrorInfo are read with this, since their Python package is one that the
    engine may have in any version, and two descriptions of one message end a process.
    """
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(data, at)
        elif kind == 2:
            length, at = _varint(data, at)
            yield tag >> 3, data[at : at + length]
            at += length
        else:
            at += 8 if kind == 1 else 4


def _error_info(details: bytes) -> tuple[str, dict[str, str]]:
    """Reason and metadata out of a google.rpc.Status; empty where it has none of ours."""
    for number, any_message in _fields(details):
        if number != 3:  # Status.details
            continue
        packed = dict(_fields(any_message))
        if packed.get(1, b"").decode() != _ERROR_INFO:
            continue
        reason = domain = ""
        metadata = {}
        for field, value in _fields(packed.get(2, b"")):
            if field == 1:
                reason = value.decode()
            elif field == 2:
                domain = value.decode()
            elif field == 3:
                entry = dict(_fields(value))
                metadata[entry.get(1, b"").decode()] = entry.get(2, b"").decode()
        if domain == _DOMAIN:
            return reason, metadata
    return "", {}


def from_rpc_error(call: Any) -> WeightdError:
    """The error of a call that ended, with reason and metadata where the daemon gave some."""
    reason = ""
    metadata: dict[str, str] = {}
    for key, value in call.trailing_metadata() or ():
        if key == _DETAILS_KEY:
            try:
                reason, metadata = _error_info(value)
            except (IndexError, UnicodeDecodeError):
                pass  # code and text are still true
    return from_status(call.code().name, reason, call.details() or "", metadata)
