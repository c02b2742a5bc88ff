"""Independent seeds for the sampler, the labeller, the shuffler and the trainer, from one number.

A seed is the SHA-256 of the root seed and a path of names, so that asking for one more never changes the others.
"""

from __future__ import annotations

import hashlib
import json

SEED_BITS = 63  # fits a signed 64-bit column, torch.manual_seed and numpy's generators


def derive_seed(seed: int, *names: str | int) -> int:
    """Return a seed in [0, 2**63) that depends on `seed` and every name in order.

    JSON keeps the parts apart: ("a", "b") and ("ab",) differ, and so do 1 and "1".
    """
    path = json.dumps([seed, *names], ensure_ascii=True, separators=(",", ":"))
    digest = hashlib.sha256(b"prefloop.seeds:" + path.encode("ascii")).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - SEED_BITS)


def sampler_seed(seed: int, *names: str | int) -> int:
    """Seed of the sampler of completions."""
    return derive_seed(seed, "sampler", *names)


def labeller_seed(seed: int, *names: str | int) -> int:
    """Seed of the labeller: order of presentation, label noise, sampled labels."""
    return derive_seed(seed, "labeller", *names)


def shuffler_seed(seed: int, *names: str | int) -> int:
    """Seed of the order of training rows."""
    return derive_seed(seed, "shuffler", *names)


def trainer_seed(seed: int, *names: str | int) -> int:
    """Seed of the randomness inside training: new heads, dropout."""
    return derive_seed(seed, "trainer", *names)
