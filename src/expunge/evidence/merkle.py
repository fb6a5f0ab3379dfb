"""A commitment to the forget set: who has the salt and a sample can show that it was in the set; nobody can guess it.

A plain hash of a short text can be guessed by hashing every candidate. So every sample is hashed with a salt of its
own, which follows from one secret salt of 32 bytes and the sample's place: one sample's salt and its path disclose
nothing of the others.

    leaf_i = SHA-256(0x00 ‖ HMAC-SHA256(salt, i) ‖ sample_i)      i as eight bytes, big-endian
    node   = SHA-256(0x01 ‖ left ‖ right)

The tree has the shape of RFC 6962 (section 2.1): the left part holds the largest power of two that is less than n.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable

SALT_BYTES = 32


def make_salt() -> str:
    """A new secret salt, in hexadecimal digits."""
    return secrets.token_hex(SALT_BYTES)


def merkle_root(samples: Iterable[object], salt: str) -> str:
    """The root over `repr` of the samples in their order (the text that `run.json` hashes too), in hexadecimal digits.

    salt: 32 bytes in hexadecimal digits
    """
    secret = bytes.fromhex(salt)
    return _node([_leaf(secret, place, repr(sample)) for place, sample in enumerate(samples)]).hex()


def _leaf(secret: bytes, place: int, sample: str) -> bytes:
    own = hmac.digest(secret, place.to_bytes(8, "big"), "sha256")
    return hashlib.sha256(b"\x00" + own + sample.encode()).digest()


def _node(leaves: list[bytes]) -> bytes:
    """The hash of a tree over these leaves; of none that of nothing, as RFC 6962 has it."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + _node(leaves[:left]) + _node(leaves[left:])).digest()
