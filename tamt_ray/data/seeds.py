"""Randomness as a counter: a seed for every step, from what the step is."""

import hashlib


def derive(*parts: int | str) -> int:
    """Return a seed in [0, 2⁶³) that depends on all parts and their order, the same on every
    machine."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
