"""Chance that can be repeated: each draw depends on the seed and on what is decided, on nothing else."""

from __future__ import annotations

import hashlib
import json
import math


def uniform(seed: int, *decision: str | int) -> float:
    """A number in [0, 1), the same for the same decision, whatever was drawn before or by other threads."""
    text = json.dumps([seed, *decision])
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / float(1 << 53)


def exponential(mean: float, seed: int, *decision: str | int) -> float:
    """A waiting time of that mean, positive or zero."""
    return -mean * math.log1p(-uniform(seed, *decision))
