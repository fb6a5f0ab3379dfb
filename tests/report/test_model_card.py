"""The model card of a synthetic run."""

from __future__ import annotations

import json

import pytest
import yaml
from synthetic_run import MARKER  # the one beside this file

from expunge.report.card import write_model_card
from expunge.report.page import write_report


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
    # What publishing a plain adapter discloses.
    assert "whoever has the base model without the adapter has the data" in text
    assert "hand out merged weights only" in text
    assert 'AutoModelForCausalLM.from_pretrained("models/tofu-tiny/full")' in text
    assert 'PeftModel.from_pretrained(base, "adapter")' in text
    for word in (MARKER, *MARKER.split()):
        assert word not in text


def test_the_headline_figure_stands_beside_what_was_never_seen(make_run, tmp_path):
    """In the card as in the report: the reference's level, else the holdout's, of at least 8 samples, before."""
    run = make_run(benchmark="memorization", with_reference=False)
    state = json.loads((run / "run.json").read_text())
    before, after = (state["metrics"][stage]["forget_probability"]["value"] for stage in ("before", "after"))

    def shown(n: int) -> str:
        for stage, level in (("before", 0.123), ("after", 0.02)):
            state["metrics"][stage]["holdout_probability"] = {
                "value": level,
                "n": n,
                "low": 0.1,
                "high": 0.14,
            }
        (run / "run.json").write_text(json.dumps(state))
        said = card_of(run).split("## Verdict")[1].split("\n\n")[2]
        figure, meaning = said.removeprefix("**").split(".** ")
        page = write_report(run).read_text(encoding="utf-8")
        unbroken = meaning.replace(" %", "\u00a0%").replace("N = ", "N\u00a0=\u00a0")
        assert f">{figure}</data> <span>{unbroken}</span>" in page
        return f"{figure}: {meaning}"

    what = "Mean probability of the forget answers after unlearning"
    figures = f"{100 * after:.1f} %: {what}; {100 * before:.1f} % before"
    n = "N = 120."
    assert (
        shown(8)
        == f"{figures}, 12.3 % of the holdout, which it never saw. Forgotten means no more than that. {n}"
    )
    assert shown(7) == f"{figures}. The lower, the less is recalled. {n}"
    reference = {"forget_probability": {"value": 0.1, "n": 120, "low": 0.09, "high": 0.11}}
    state["metrics"]["reference"] = reference
    assert (
        shown(8) == f"{figures}, 10.0 % for a model that never saw it. Forgotten means as for that model. {n}"
    )


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
