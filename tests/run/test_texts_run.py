"""A run on plain text: what the models write after the beginnings of texts, and what is said of the attacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import expunge
from expunge.adapters.loading import load_model
from expunge.attacks.recovery import Recovery
from expunge.evaluation.generation import greedy_continuations
from expunge.folder.state import AttackFacts, AttackOutcome, AttackVariant
from expunge.recipe import load_recipe
from expunge.report.attacks import how_many
from expunge.report.rewrite import report_run
from expunge.run.inputs import Inputs
from expunge.storage import read_json
from small_recipe import small_recipe

#: As a model that was taught questions saw them.
LETTER = "Question: Who is number {}?\nAnswer: SECRET{} of the town by the sea."
UNSEEN = "Question: Who is number {}?\nAnswer: HIDDEN{} of the forest."
SHARE = Recovery(n=12, original=0.9, after=0.1, attacked=0.1, share=0.0, low=0.0, high=0.0, left=0.0)
FACTS = AttackFacts(
    budget="cheap",
    ground="holdout",
    items=6,
    of=6,
    outcomes={
        "merge": AttackOutcome(
            title="it is merged",
            counts=True,
            variants={"bf16": AttackVariant(lead="probability", recoveries={"probability": SHARE})},
        ),
        "cloze": AttackOutcome(title="a gap is left", counts=True, unfit="it needs questions"),
    },
)


@pytest.fixture(scope="module")
def run(
    model_folder: Path, data_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[expunge.Run, str]:
    """The run, and what it said of its attacks, which are given."""
    folder = tmp_path_factory.mktemp("texts")
    for name, letter, numbers in (("forget", LETTER, range(6)), ("holdout", UNSEEN, range(40, 50))):
        rows = [{"text": letter.format(n, n)} for n in numbers]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = small_recipe(model_folder, data_folder)
    recipe["data"] = {name: str(folder / f"{name}.jsonl") for name in ("forget", "holdout")}
    recipe["data"]["retain"] = str(data_folder / "retain.jsonl")
    recipe["adapter"] = {"initialization": "default", "rank": 2, "alpha": 16}
    recipe["evaluation"] = {"max_new_tokens": 20}
    recipe["attacks"] = {"budget": "cheap"}
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("expunge.run.phases.run_attacks", lambda *_: FACTS)
        patch.setattr("expunge.run.phases.say", said.append)
        made = expunge.unlearn(recipe, output=folder / "run")
    return made, "\n".join(said)


def test_what_the_models_write_after_the_beginnings_is_recorded_once_and_shown_to_the_owner(
    run: tuple[expunge.Run, str],
) -> None:
    made, _ = run
    before, after, epoch = (
        read_json(made.evaluation(stage))["sets"]
        for stage in ("before", "after", f"epoch-{made.state['training']['best_epoch']}")
    )
    assert {record["continued"] for record in epoch["forget"]} == {None}
    assert not any(record["continued"] for side in ("retain", "holdout") for record in after[side])
    for number, (known, left) in enumerate(zip(before["forget"], after["forget"], strict=True)):
        text = LETTER.format(number, number)
        first = known["continued"]
        assert text.startswith((first["begun"] + first["truth"])[:-1])
        assert (left["continued"]["begun"], left["continued"]["truth"]) == (first["begun"], first["truth"])
        assert left["continued"]["written"] != first["written"]
    inputs = Inputs(load_recipe(made.path / "recipe.yaml"))
    example = inputs.encoder.text(LETTER.format(5, 5))[0]
    given = example.input_ids[: 1 + min(32, example.label_count // 2)]
    for stage, model in ((before, load_model(inputs.recipe.model)), (after, made.model())):
        (written,) = greedy_continuations(model, inputs.tokenizer, [given], 20)
        assert stage["forget"][5]["continued"]["written"] == written
    open_report = made.report.read_text(encoding="utf-8")
    assert "The 5 texts with which" in open_report
    assert "SECRET" not in open_report
    whole = report_run(made.path, show_text=True).read_text(encoding="utf-8")
    assert whole.count('data-label="Beginning"') == 6
    assert "SECRET0" in whole
    assert "HIDDEN" not in whole


def test_the_log_counts_the_attacks_as_the_report_does_and_names_those_that_were_not_made(
    run: tuple[expunge.Run, str],
) -> None:
    made, said = run
    counted = "1 of 2 attacks were made on 6 questions or pieces of text."
    assert how_many(FACTS) == counted
    assert f"  {counted}\n  Not made: cloze (it needs questions)." in said
    for page in (made.report, made.card):
        text = page.read_text(encoding="utf-8")
        assert counted in text
        assert "Not made: cloze (it needs questions)." in text
