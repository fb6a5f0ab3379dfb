"""Ed25519 keys as PEM files: the private one (PKCS #8) for its owner alone, the public one beside it as `NAME.pub`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, Problem
from ..intact import check_writable
from ..storage import atomic_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PUBLIC = ".pub"
WHERE = "--key"


def need_cryptography() -> None:
    """Raise `InputError` that names the command where the package `cryptography` is missing."""
    try:
        import cryptography  # noqa: F401  (an extra)
    except ImportError:
        raise InputError(
            Problem(WHERE, "signatures need the package cryptography, which is not installed.",
                    "pip install 'expunge[sign]'")
        ) from None  # fmt: skip


def make_key(file: Path) -> Path:
    """Write a new private key to `file`, readable by its owner alone, and the public one to `file.pub`, its path
    returned.

    Raises `InputError` where either is there already, or cannot be written.
    """
    need_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = file.with_name(file.name + PUBLIC)
    taken = [place for place in (file, public) if place.exists()]
    if taken:
        raise InputError(
            Problem(str(taken[0]), "it is there already, and a key that is lost signs nothing more.",
                    "Name another file.")
        )  # fmt: skip
    check_writable(file, "FILE")
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with atomic_file(file, private=True) as partial:
        partial.write_bytes(pem)
    with atomic_file(public) as partial:
        partial.write_bytes(
            key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
    return public


def read_private_key(file: Path) -> Ed25519PrivateKey:
    """Raises `InputError` where `file` holds no private Ed25519 key."""
    need_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_content(file), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it asks for a password
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(
            Problem(f"{WHERE}: {file}", "it holds no private Ed25519 key in PEM that can be read without a password.",
                    "Name the file that `expunge keygen` wrote, not its .pub.")
        )  # fmt: skip
    return key


def read_public_key(file: Path) -> Ed25519PublicKey:
    """Raises `InputError` where `file` holds no public Ed25519 key."""
    need_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(_content(file))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(
            Problem(f"{WHERE}: {file}", "it holds no public Ed25519 key in PEM.",
                    "Name the signer's file .pub; the private key stays with the signer.")
        )  # fmt: skip
    return key


def key_id(key: Ed25519PublicKey) -> str:
    """SHA-256 of the key as SubjectPublicKeyInfo in DER, in hexadecimal digits."""
    from cryptography.hazmat.primitives import serialization

    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(
            Problem(f"{WHERE}: {file}", f"it cannot be read: {error.strerror}.", "Name the file of a key.")
        ) from None
