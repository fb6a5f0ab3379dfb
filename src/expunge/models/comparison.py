"""Whether two fingerprints are of one model; without torch, so that a report can tell."""

from __future__ import annotations

#: What differs, by the number of the hash.
_PARTS = ("its weights differ", "its weights are the same, but its configuration or a buffer differs",
          "the values that are sampled are the same, but others differ")  # fmt: skip


def difference(recorded: str | None, here: str) -> str | None:
    """How two models differ, by their fingerprints; None where all hashes that both have are the same.

    So a fingerprint of version 0.1.0 matches every model with the same weights.
    """
    if not recorded:
        return "its fingerprint is not known"
    pairs = zip(recorded.split("-"), here.split("-"), strict=False)
    return next((what for what, (one, other) in zip(_PARTS, pairs, strict=False) if one != other), None)
