"""Random numbers that do not depend on the order in which layers come."""

from __future__ import annotations

import hashlib


def seed_for(seed: int, *names: str) -> int:
    """The seed for `names` (a layer, a purpose), from the recipe's seed: the same on every machine, < 2^56."""
    digest = hashlib.sha256("/".join((str(seed), *names)).encode()).digest()
    return int.from_bytes(digest[:7], "big")
