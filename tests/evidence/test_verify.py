"""The check of a statement: what it finds, what it says, and that it needs neither torch nor a second."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from stated import PREDICATE, write_signed

from expunge.errors import InputError
from expunge.evidence import verify_statement
from expunge.evidence.keys import make_key


@pytest.fixture
def signed(tmp_path: Path) -> tuple[Path, Path, Path]:
    return write_signed(tmp_path)


def failures(file: Path, key: Path, deliverable: Path | None = None) -> list[str]:
    return [check.said for check in verify_statement(file, key, deliverable).checks if check.holds is False]


def test_what_holds_is_said(signed: tuple[Path, Path, Path]) -> None:
    verified = verify_statement(*signed)
    assert [check.holds for check in verified.checks] == [True] * 4
    said = " ".join(check.said for check in verified.checks)
    for part in (
        "Signed by the key",
        "request A-1, 6 samples",
        "run: none",
        "certificate.html",
        "all 2 files",
    ):
        assert part in said
    assert verified.predicate is not None
    assert verified.predicate.model_dump(mode="json", exclude_none=True) == PREDICATE
    (open_,) = [check for check in verify_statement(*signed[:2]).checks if check.holds is None]
    assert "adapter (2 files)" in open_.said


def test_a_hundred_flipped_bits_of_a_hundred_are_found(signed: tuple[Path, Path, Path]) -> None:
    file, key, deliverable = signed
    generator, whole = random.Random(0), file.read_bytes()
    for _ in range(100):
        content = bytearray(whole)
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        file.write_bytes(content)
        assert failures(file, key, deliverable)
    file.write_bytes(whole)
    assert not failures(file, key, deliverable)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "adapter_config.json").write_text("{ }"), "adapter_config.json has changed"),
        (lambda folder: (folder / "adapter_config.json").unlink(), "adapter_config.json is missing"),
        (lambda folder: (folder / "run.py").write_text(""), "run.py is not in the statement"),
        (lambda folder: (folder / "sub").symlink_to("/etc"), "it is a link"),
        (lambda folder: (folder.parent / "certificate.html").write_text("<p>"), "certificate.html beside it is not"),
    ],
)  # fmt: skip
def test_what_was_handed_over_is_what_was_signed(
    signed: tuple[Path, Path, Path], change: Any, said: str
) -> None:
    change(signed[2])
    (found,) = failures(*signed)
    assert said in found


def test_another_key_does_not_hold(signed: tuple[Path, Path, Path], tmp_path: Path) -> None:
    (found,) = failures(signed[0], make_key(tmp_path / "other"))
    assert "another key signed it" in found
    assert verify_statement(signed[0], tmp_path / "other.pub").predicate is None
    # What nobody signed cannot look like a line of the answer.
    content = json.loads(signed[0].read_text())
    content["signatures"][0]["keyid"] = "a\nholds  Signed"
    (tmp_path / "forged.json").write_text(json.dumps(content))
    (found,) = failures(tmp_path / "forged.json", tmp_path / "other.pub")
    assert r"(named: a\nholds  Signed)" in found
    assert "\n" not in found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"not_covered": {"backups": "yes"}}, "base weights, earlier adapters, guidance with both models"),
        ({"attacks": []}, "membership inference"),
        ({"recipe": "abc"}, "recipe"),
        ({"figures": {"forget_probability": 0.5}}, "figures.forget_probability"),
    ],
)
def test_a_statement_that_leaves_something_out_does_not_hold(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    (found,) = failures(*write_signed(tmp_path, {**PREDICATE, **changes}))
    assert "no statement of expunge" in found
    assert said in found


def test_wrong_input_gets_a_sentence(signed: tuple[Path, Path, Path], tmp_path: Path) -> None:
    for arguments in (
        (tmp_path / "none", signed[1]),
        (signed[0], tmp_path / "none"),
        (*signed[:2], signed[0]),
    ):
        with pytest.raises(InputError):
            verify_statement(*arguments)


def test_the_command_needs_neither_torch_nor_a_second(signed: tuple[Path, Path, Path]) -> None:
    """On a machine that has nothing else: neither torch nor numpy, scipy and transformers can be imported there."""
    file, key, deliverable = signed
    code = (
        "import sys\n"
        "for name in ('torch', 'numpy', 'scipy', 'transformers', 'peft'): sys.modules[name] = None\n"
        "from expunge.cli import main\n"
        "main()\n"
    )

    def run(*more: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, "verify", file, "--key", key, *more]
        return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)

    before = os.times()
    ran = run("--deliverable", deliverable, "--json")
    used = os.times()
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert [check["holds"] for check in document["checks"]] == [True] * 4
    assert document["statement"] == PREDICATE
    assert used.children_user + used.children_system - before.children_user - before.children_system < 1
    (deliverable / "adapter_config.json").write_text("changed")
    assert run("--deliverable", deliverable).returncode == 1
    file.write_text("no envelope")
    assert run().returncode == 1
    file.unlink()
    assert run().returncode == 2
