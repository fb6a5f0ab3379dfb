"""The Merkle root, against hashes that are put together by hand."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from expunge.data.samples import QuestionAnswer
from expunge.evidence import merkle_root
from expunge.evidence.merkle import make_salt

SALT = "0f" * 32


def sha(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def leaf(place: int, sample: object, salt: str = SALT) -> bytes:
    own = hmac.new(bytes.fromhex(salt), bytes(7) + bytes([place]), hashlib.sha256).digest()
    return sha(b"\x00" + own + repr(sample).encode())


def node(left: bytes, right: bytes) -> bytes:
    return sha(b"\x01" + left + right)


SAMPLES = [QuestionAnswer(f"Who is {n}?", f"ÄNSWER {n}") for n in range(5)]
A, B, C, D, E = (leaf(place, sample) for place, sample in enumerate(SAMPLES))


@pytest.mark.parametrize(
    ("count", "root"),
    [(1, A), (2, node(A, B)), (3, node(node(A, B), C)), (4, node(node(A, B), node(C, D))),
     (5, node(node(node(A, B), node(C, D)), E))],
)  # fmt: skip
def test_the_tree_has_the_shape_of_rfc_6962(count: int, root: bytes) -> None:
    assert merkle_root(SAMPLES[:count], SALT) == root.hex()


def test_it_depends_on_every_sample_their_order_and_the_salt() -> None:
    roots = {
        merkle_root(SAMPLES, SALT),
        merkle_root(SAMPLES[::-1], SALT),
        merkle_root([*SAMPLES[:4], QuestionAnswer("Who is 4?", "another")], SALT),
        merkle_root(SAMPLES, make_salt()),
        merkle_root(SAMPLES, make_salt()),
    }
    assert len(roots) == 5
    assert len(bytes.fromhex(make_salt())) == 32
