"""The model card of a synthetic run."""

from __future__ import annotations

import json

import pytest
import yaml
from synthetic_run import MARKER  # the one beside this file

from expunge.report import write_model_card


def card_of(run) -> str:
    return write_model_card(run).read_text(encoding="utf-8")


def rewrite(run, **model):
    state = json.loads((run / "run.json").read_text())
    state["model"].update(model)
    (run / "run.json").write_text(json.dumps(state))


def test_figures_with_n_and_no_forgotten_text(make_run):
    run = make_run()
    text = card_of(run)
    assert "| World facts: truth ratio | 117 | 0.550 (0.520 to 0.580) | 0.530 (0.500 to 0.560) |" in text
    assert "**Forgotten, and the model's utility is kept.**" in text
    assert "7c1f0a6e52d94b38" in text
    assert 'AutoModelForCausalLM.from_pretrained("models/tofu-tiny/full")' in text
    assert 'PeftModel.from_pretrained(base, "adapter")' in text
    for word in (MARKER, *MARKER.split()):
        assert word not in text


@pytest.mark.parametrize(("initialization", "flag"), [("factored", 16), ("default", 8)])
def test_rank_for_vllm(make_run, initialization, flag):
    assert f"--max-lora-rank {flag} " in card_of(make_run(initialization=initialization))


@pytest.mark.parametrize(("r", "flag"), [(16, 16), (12, 16), (24, 32), (300, 320)])
def test_rank_for_vllm_is_that_of_the_adapter_rounded_up_to_what_vllm_takes(make_run, r, flag):
    run = make_run()
    (run / "adapter").mkdir()
    (run / "adapter" / "adapter_config.json").write_text(json.dumps({"r": r}))
    text = card_of(run)
    assert f"the adapter has rank {r})" in text
    assert f"--max-lora-rank {flag} " in text


def test_metadata_names_a_model_of_the_hub_only(make_run):
    run = make_run()
    for path, expected in (
        ("microsoft/phi-1_5", "microsoft/phi-1_5"),
        ("/models/phi", None),
        ("./a/b", None),
    ):
        rewrite(run, path=path)
        metadata = yaml.safe_load(card_of(run).split("---")[1])
        assert metadata.get("base_model") == expected
        assert metadata["library_name"] == "peft"
