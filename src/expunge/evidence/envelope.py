"""DSSE v1: a payload of a stated type, and signatures over both (github.com/secure-systems-lab/dsse, protocol.md)."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .keys import key_id

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"


class NoEnvelope(ValueError):
    """What is wrong with bytes that should be an envelope, without a full stop."""


@dataclass(frozen=True)
class Envelope:
    """payload: the serialised body; signatures: (keyid, signature), the keyid empty where none is given"""

    payload_type: str
    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "payloadType": self.payload_type,
            "payload": base64.b64encode(self.payload).decode(),
            "signatures": [
                {"keyid": keyid, "sig": base64.b64encode(signature).decode()}
                for keyid, signature in self.signatures
            ],
        }


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed, the Pre-Authentication Encoding: DSSEv1 SP LEN(type) SP type SP LEN(body) SP body."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload: bytes, key: Ed25519PrivateKey) -> Envelope:
    """The envelope of an in-toto statement, signed with Ed25519."""
    signature = key.sign(pae(PAYLOAD_TYPE, payload))
    return Envelope(PAYLOAD_TYPE, payload, ((key_id(key.public_key()), signature),))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises `ValueError` for a key that stands there twice: readers differ in which of the two they take."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key stands there twice")
    return dict(pairs)


def read_envelope(content: bytes) -> Envelope:
    """The envelope in a file's bytes, not yet verified.

    Stricter than the specification asks: what no signature covers may hold nothing but its own keys, so that nothing
    unsigned rides along, and base64 has to be canonical, so that no bit of it can change unseen.

    Raises `NoEnvelope`.
    """
    try:
        given = json.loads(content.decode(), object_pairs_hook=_once)
        json.dumps(given, ensure_ascii=False).encode()  # \\ud800, a half of a character, is none
    except (ValueError, RecursionError):
        raise NoEnvelope("it is no JSON") from None
    if not isinstance(given, dict) or given.keys() != {"payload", "payloadType", "signatures"}:
        raise NoEnvelope("it does not hold payload, payloadType and signatures, and nothing else")
    signatures = given["signatures"]
    if not isinstance(given["payloadType"], str) or not isinstance(signatures, list) or not signatures:
        raise NoEnvelope("its payloadType is no text, or there is no signature")
    pairs = []
    for each in signatures:
        if not isinstance(each, dict) or not {"sig"} <= each.keys() <= {"sig", "keyid"}:
            raise NoEnvelope("a signature does not hold sig and keyid, and nothing else")
        keyid = each.get("keyid", "")
        if not isinstance(keyid, str):
            raise NoEnvelope("a keyid is no text")
        pairs.append((keyid, _decoded(each["sig"])))
    return Envelope(given["payloadType"], _decoded(given["payload"]), tuple(pairs))


def is_signed_by(envelope: Envelope, key: Ed25519PublicKey) -> bool:
    """Whether a signature of the envelope is by `key`. A signature that names another key is not tried."""
    from cryptography.exceptions import InvalidSignature

    mine = key_id(key)
    signed = pae(envelope.payload_type, envelope.payload)
    for keyid, signature in envelope.signatures:
        if keyid and keyid != mine:
            continue
        try:
            key.verify(signature, signed)
        except InvalidSignature:
            continue
        return True
    return False


def _decoded(text: Any) -> bytes:
    """Base64 in its standard or its URL-safe alphabet."""
    if not isinstance(text, str):
        raise NoEnvelope("its base64 is no text")
    standard = text.replace("-", "+").replace("_", "/")
    try:
        content = base64.b64decode(standard, validate=True)
    except (binascii.Error, ValueError):
        raise NoEnvelope("its base64 is damaged") from None
    if base64.b64encode(content).decode() != standard:
        raise NoEnvelope("its base64 is not canonical")
    return content
