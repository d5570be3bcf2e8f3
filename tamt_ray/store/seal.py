"""JSON that carries its own sha256, so that one flipped byte is not just another number."""

import hashlib

_HEAD, _TAIL = b'{"sha256":"', b'",'


class BrokenSealError(ValueError):
    """Not sealed JSON, or not all of it, or not as it was written."""


def seal(body: bytes) -> bytes:
    """Return the JSON object `body`, which is not empty, with its own sha256 as first field."""
    assert body.startswith(b'{"')
    return _HEAD + hashlib.sha256(body).hexdigest().encode() + _TAIL + body[1:]


def unseal(data: bytes) -> bytes:
    """Return the body that was sealed. Raises BrokenSealError."""
    start = len(_HEAD)
    digest, rest = data[start : start + 64], data[start + 64 :]
    body = b"{" + rest[len(_TAIL) :]
    if (
        not data.startswith(_HEAD)
        or not rest.startswith(_TAIL)
        or hashlib.sha256(body).hexdigest().encode() != digest
    ):
        raise BrokenSealError("it is not what was written")
    return body
