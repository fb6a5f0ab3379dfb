"""Refusals from a user's file."""

from __future__ import annotations

from pathlib import Path

import tokenizer_families as families
from expunge.data.encoding import IGNORED, Encoder
from expunge.data.samples import QuestionAnswer
from expunge.data.sets import SampleSet
from expunge.data.substitutes import substitutes


def test_a_byte_order_mark_is_no_part_of_a_refusal(tmp_path: Path) -> None:
    file = tmp_path / "refusals.txt"
    file.write_text("Ada was born in a town.\n", encoding="utf-8-sig")
    encoder = Encoder(families.gpt2_like())
    forget = SampleSet("forget.jsonl", [QuestionAnswer("Where was Ada born?", "By the sea.")])
    (example,) = substitutes(forget, "refusal", str(file), encoder, seed=0)
    labels = [label for label in example.labels if label != IGNORED]
    written = encoder.tokenizer.decode(labels, skip_special_tokens=True)
    assert written.strip() == "Ada was born in a town."
