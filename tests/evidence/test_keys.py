"""Keys: who may read them, and what is said of a file that holds another one."""

from __future__ import annotations

import base64
import re
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from expunge.cli import main
from expunge.errors import InputError
from expunge.evidence.keys import make_key, read_private_key, read_public_key


def test_the_private_key_is_for_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "keys" / "operator"
    monkeypatch.setattr("sys.argv", ["expunge", "keygen", str(file)])
    main()
    assert capsys.readouterr().out.strip() == f"{file}.pub"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    public = read_public_key(Path(f"{file}.pub"))
    assert read_private_key(file).public_key() == public
    with pytest.raises(InputError, match="it is there already"):
        make_key(file)
    file.unlink()
    with pytest.raises(InputError, match="it is there already"):  # the public one alone, too
        make_key(file)
    assert not file.exists()


def test_without_the_package_its_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_key(tmp_path / "key")
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for use in (lambda: make_key(tmp_path / "other"), lambda: read_public_key(tmp_path / "key.pub")):
        with pytest.raises(InputError, match=re.escape("pip install 'expunge[sign]'")):
            use()


@pytest.mark.parametrize("read", [read_private_key, read_public_key])
def test_another_kind_of_file_gets_a_sentence(tmp_path: Path, read: Callable[[Path], object]) -> None:
    make_key(tmp_path / "key")
    other = ec.generate_private_key(ec.SECP256R1())
    password = serialization.BestAvailableEncryption(b"secret")
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (tmp_path / "curve").write_bytes(other.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    (tmp_path / "locked").write_bytes(read_private_key(tmp_path / "key").private_bytes(pem, pkcs8, password))
    (tmp_path / "text").write_text("no key")
    lines = (tmp_path / ("key" if read is read_private_key else "key.pub")).read_text().splitlines()
    unheard_of = base64.b64decode("".join(lines[1:-1])).replace(b"\x2b\x65\x70", b"\x2b\x65\x7f")
    (tmp_path / "kind").write_text(
        "\n".join([lines[0], base64.b64encode(unheard_of).decode(), lines[-1], ""])
    )
    wrong = "key.pub" if read is read_private_key else "key"
    for name in ("curve", "kind", "locked", "text", "missing", ".", wrong):
        with pytest.raises(InputError, match=re.escape(f"--key: {tmp_path / name}")):
            read(tmp_path / name)
