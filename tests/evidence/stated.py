"""A statement that is made up, signed by a key of the test's own, with what it speaks of beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from expunge.evidence.envelope import sign
from expunge.evidence.keys import make_key, read_private_key
from expunge.evidence.statement import (
    CATEGORIES,
    NOT_COVERED,
    PROVES,
    UNLEARNING_TYPE,
    Unlearning,
    statement,
)
from expunge.storage import file_checksum, write_json

PREDICATE: dict[str, Any] = {
    "proves": PROVES,
    "request": {"id": "A-1", "done": "2026-11-26T09:00:00+00:00"},
    "forget_set": {"samples": 6, "merkle_root": "a" * 64},
    "base": {"name": "org/model", "fingerprint": "b" * 32},
    "recipe": "c" * 64,
    "method": "LoRA",
    "versions": {"expunge": "1.0"},
    "seed": 42,
    "figures": {
        "forget_probability": {
            "label": "Forget set: probability of the answer",
            "better": "as the reference",
            "before": {"value": 0.9, "n": 6, "low": 0.8, "high": 0.95},
            "after": {"value": 0.1, "n": 6, "low": 0.05, "high": 0.2},
        }
    },
    "attacks": [{"category": category, "by": []} for category in CATEGORIES],
    "earlier": {},
    "not_covered": NOT_COVERED,
}


def write_signed(folder: Path, predicate: dict[str, Any] = PREDICATE) -> tuple[Path, Path, Path]:
    """The files of the statement and the public key, and the folder of what was handed over."""
    deliverable = folder / "handed over"
    deliverable.mkdir()
    (deliverable / "adapter_config.json").write_text("{}")
    (deliverable / "adapter_model.safetensors").write_bytes(bytes(range(200)))
    certificate = folder / "certificate.html"
    certificate.write_text("<p>A certificate")
    subjects = {f"adapter/{file.name}": file_checksum(file) for file in deliverable.iterdir()}
    subjects["certificate.html"] = file_checksum(certificate)
    key = make_key(folder / "key")
    payload = json.loads(statement(subjects, UNLEARNING_TYPE, Unlearning(**PREDICATE)))
    payload["predicate"] = predicate
    envelope = sign(json.dumps(payload).encode(), read_private_key(folder / "key"))
    write_json(folder / "attestation.json", envelope.to_json())
    return folder / "attestation.json", key, deliverable
