"""DSSE: the bytes that are signed, by the specification's own vector, and signatures by another way of checking."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from expunge.evidence.envelope import NoEnvelope, is_signed_by, pae, read_envelope, sign

#: RFC 8032, section 7.1, TEST 1.
SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
KEY = Ed25519PrivateKey.from_private_bytes(SECRET)


@pytest.mark.parametrize(
    ("kind", "body", "signed"),
    [
        # protocol.md, "Test Vectors"
        ("http://example.com/HelloWorld", b"hello world",
         b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"),
        ("", b"", b"DSSEv1 0  0 "),
        ("é", b"\x00 1", b"DSSEv1 2 \xc3\xa9 3 \x00 1"),  # lengths are of bytes
    ],
)  # fmt: skip
def test_the_bytes_that_are_signed(kind: str, body: bytes, signed: bytes) -> None:
    assert pae(kind, body) == signed


def test_a_signature_holds_by_the_primitives_alone() -> None:
    given = json.loads(json.dumps(sign(b'{"a": 1}', KEY).to_json()))
    assert given.keys() == {"payload", "payloadType", "signatures"}
    assert base64.b64decode(given["payload"]) == b'{"a": 1}'
    signature = base64.b64decode(given["signatures"][0]["sig"])
    signed = b'DSSEv1 28 application/vnd.in-toto+json 8 {"a": 1}'
    assert KEY.public_key().public_bytes_raw().hex() == PUBLIC
    KEY.public_key().verify(signature, signed)
    with pytest.raises(InvalidSignature):
        KEY.public_key().verify(signature, b'{"a": 1}')


def written(**changes: Any) -> dict[str, Any]:
    return {**sign(b"body", KEY).to_json(), **changes}


def test_a_key_that_stands_there_twice_is_no_envelope() -> None:
    """One reader would take the signed payload, another one what somebody has put beside it."""
    whole = json.dumps(written())
    twice = whole.replace('"payload":', '"payload": "Zm9yZ2Vk", "payload":', 1)
    assert twice != whole
    with pytest.raises(NoEnvelope):
        read_envelope(twice.encode())


def test_either_base64_and_a_signature_without_a_key_id_are_read() -> None:
    body = bytes(range(240, 256))
    given = sign(body, KEY).to_json()
    given["payload"] = base64.urlsafe_b64encode(body).decode()
    assert "_" in given["payload"]
    given["signatures"] = [{"sig": given["signatures"][0]["sig"]}]
    envelope = read_envelope(json.dumps(given).encode())
    assert envelope.payload == body
    assert is_signed_by(envelope, KEY.public_key())


def test_another_key_and_another_type_do_not_hold() -> None:
    envelope = read_envelope(json.dumps(written()).encode())
    assert is_signed_by(envelope, KEY.public_key())
    assert not is_signed_by(envelope, Ed25519PrivateKey.generate().public_key())
    other = read_envelope(json.dumps(written(payloadType="application/json")).encode())
    assert not is_signed_by(other, KEY.public_key())


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff", b"[]", b"{}", b"[" * 100_000,
        json.dumps(written(more=1)).encode(),
        json.dumps(written(signatures=[])).encode(),
        json.dumps(written(signatures=["x"])).encode(),
        json.dumps(written(signatures=[{"sig": "", "keyid": 1}])).encode(),
        json.dumps(written(signatures=[{"keyid": ""}])).encode(),
        json.dumps(written(payload="Ym9keR==")).encode(),  # its last bits are no part of the body
        json.dumps(written(payload="Ym9 keQ==")).encode(),
        json.dumps(written(payload=None)).encode(),
        json.dumps(written(payloadType=None)).encode(),
        json.dumps(written(payloadType="\ud800")).encode(),  # a half of a character
        json.dumps(written(signatures=[{"sig": "", "keyid": "\ud800"}])).encode(),
    ],
)  # fmt: skip
def test_what_is_no_envelope_is_told(content: bytes) -> None:
    with pytest.raises(NoEnvelope):
        read_envelope(content)
