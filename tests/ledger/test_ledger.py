"""A ledger of two requests and a rollback, each attested: what it says, and that whatever changes in it is found."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from expunge import storage, unlearn
from expunge.adapters.loading import load_model
from expunge.cli import main
from expunge.data.encoding import Encoder
from expunge.data.samples import QuestionAnswer
from expunge.data.templates import choose_template
from expunge.errors import InputError
from expunge.evidence import Check, merkle_root, verify_statement
from expunge.evidence.envelope import read_envelope
from expunge.evidence.keys import make_key
from expunge.folder.ledger import Entry, Kept, LedgerFolder
from expunge.ledger.add import _measured_on, add, verdict_on
from expunge.ledger.measured import readable
from expunge.ledger.rollback import rollback
from expunge.ledger.verify import verify_ledger
from expunge.models.settings import Model
from expunge.recipe import load_recipe
from expunge.run.attacked import attack_run
from expunge.run.attest import attest
from expunge.run.export import export_run
from expunge.run.inputs import Inputs
from expunge.storage import file_checksum, read_json, write_json, write_record
from small_recipe import small_recipe

IDS = torch.arange(1, 30)[None]
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def recipes(
    model_folder: Path, data_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """Forget rows 0 to 5, then 6 to 11; the rest is kept."""
    folder = tmp_path_factory.mktemp("requests")
    lines = [line for name in ("forget", "retain") for line in (data_folder / f"{name}.jsonl").open()]
    for name, rows in (("first", lines[:6]), ("second", lines[6:12]), ("retain", lines[12:])):
        (folder / f"{name}.jsonl").write_text("".join(rows))
    recipe = small_recipe(model_folder, folder)
    return [
        {**recipe, "data": {**recipe["data"], "forget": str(folder / f"{name}.jsonl")}}
        for name in ("first", "second")
    ]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("keys") / "operator")


@pytest.fixture(scope="module")
def finished(
    recipes: list[dict[str, Any]], key: Path, tmp_path_factory: pytest.TempPathFactory
) -> LedgerFolder:
    ledger = LedgerFolder(tmp_path_factory.mktemp("ledgers") / "ledger")
    private = key.with_suffix("")
    add(ledger.path, recipes[0], identifier="A-1", received="2026-11-01T08:00:00+00:00",
        fields={"asked": "the person of letter 17"}, key=private, operator="Example Ltd")  # fmt: skip
    shutil.copytree(ledger.path, ledger.path.with_name("after the first"))
    add(ledger.path, recipes[1], identifier="A-2", key=private)
    shutil.copytree(ledger.path, ledger.path.with_name("after the second"))
    rollback(ledger.path, "A-1", key=private)
    return ledger


@pytest.fixture
def ledger(finished: LedgerFolder, tmp_path: Path) -> LedgerFolder:
    return LedgerFolder(shutil.copytree(finished.path, tmp_path / "ledger"))


def failures(checks: list[Check]) -> list[str]:
    return [check.said for check in checks if check.holds is False]


def found(folder: Path, key: Path) -> list[str]:
    try:
        return failures(verify_ledger(folder, key))
    except InputError as error:
        return [str(problem) for problem in error.problems]


def samples_of(file: str) -> list[QuestionAnswer]:
    return [QuestionAnswer(**json.loads(line)) for line in Path(file).read_text().splitlines()]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.double()(input_ids=IDS).logits


def stacked(model_folder: Path, adapters: list[Path]) -> torch.Tensor:
    return logits(load_model(Model(path=str(model_folder), adapters=[str(each) for each in adapters])))


# --- what it says


def test_every_entry_is_chained_and_says_what_came_of_its_request(
    finished: LedgerFolder, recipes: list[dict[str, Any]]
) -> None:
    first, second, third = finished.entries
    assert first.previous == file_checksum(finished.identity_file)
    assert second.previous == file_checksum(finished.entry_file(1))
    assert third.previous == file_checksum(finished.entry_file(2))
    assert [entry.id for entry in finished.entries] == ["A-1", "A-2", "rollback-of-A-1"]
    assert [entry.active for entry in finished.entries] == [[1], [1, 2], [2]]
    assert first.received == "2026-11-01T08:00:00+00:00"
    assert first.fields == {"asked": "the person of letter 17"}
    for number, entry in enumerate((first, second), start=1):
        run = finished.run(number)
        assert entry.facts is not None
        assert entry.facts.recipe == file_checksum(run.recipe_file)
        assert entry.facts.base.fingerprint == run.state.model.fingerprint
        samples = samples_of(recipes[number - 1]["data"]["forget"])
        salt = finished.salt_file(number).read_text().strip()
        assert entry.facts.forget_set.merkle_root == merkle_root(samples, salt)
        assert stat.S_IMODE(finished.salt_file(number).stat().st_mode) == 0o600
        for stage in ("before", "after"):
            for name, metric in run.metrics(stage).items():
                figure = getattr(entry.facts.figures[name], stage)
                assert (figure.value, figure.n) == (metric.value, metric.n)
    assert not list(finished.path.rglob("checkpoints"))


def test_the_second_request_starts_where_the_first_one_ended_and_keeps_its_share_of_the_original(
    finished: LedgerFolder,
) -> None:
    first, second = finished.run(1), finished.run(2)
    origin = read_json(second.adapter / "base_fingerprint.json")
    assert origin["original"] == first.state.model.fingerprint != origin["fingerprint"]
    training = second.state.training
    assert training is not None
    assert training.original_utility == first.metrics("before")["retain_probability"].value
    kept = [entry.utility for entry in finished.entries]
    assert {(each.original, each.since) for each in kept if each} == {(training.original_utility, 1)}
    assert kept[1] is not None
    assert kept[1].after == second.metrics("after")["retain_probability"].value
    facts = finished.entry(2).facts
    assert facts is not None
    assert facts.verdict == verdict_on(second, kept[1])
    # Several losses add up: what keeps its share of the model before the request may have lost the original's.
    lost = verdict_on(second, Kept(**{**kept[1].model_dump(), "original": 2.0}))
    assert (facts.verdict.utility_kept, lost.utility_kept) == (None, False)
    assert "the model lost utility" in lost.against


def test_one_adapter_for_the_untouched_base_holds_what_is_not_rolled_back(
    finished: LedgerFolder, model_folder: Path
) -> None:
    adapters = [finished.run(number).adapter for number in (1, 2)]
    for folder, active in (("after the second", adapters), ("ledger", adapters[1:])):
        base = AutoModelForCausalLM.from_pretrained(model_folder)
        handed_over = PeftModel.from_pretrained(base, str(finished.path.with_name(folder) / "adapter"))
        torch.testing.assert_close(logits(handed_over), stacked(model_folder, active), rtol=0, atol=1e-5)
    for adapter in (
        finished.adapter,
        *adapters,
    ):  # not as a set has them, which another process has otherwise
        targets = read_json(adapter / "adapter_config.json")["target_modules"]
        assert targets == sorted(targets)
    assert (stacked(model_folder, adapters) - stacked(model_folder, adapters[1:])).abs().max() > 1e-3


def probability(model: Any, file: str, model_folder: Path) -> float:
    """The geometric mean probability of an answer's tokens, in the mean over the answers, one at a time."""
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    encoder = Encoder(tokenizer, choose_template("auto", tokenizer), 512)
    values = []
    for sample in samples_of(file):
        (example,) = sample.encode(encoder)
        with torch.no_grad():
            ids, labels = (torch.tensor(each)[None] for each in (example.input_ids, example.labels))
            values.append(torch.exp(-model(input_ids=ids, labels=labels).loss).item())
    return sum(values) / len(values)


def test_all_forget_sets_are_measured_after_each_entry(
    finished: LedgerFolder, recipes: list[dict[str, Any]], model_folder: Path
) -> None:
    entries = finished.entries
    assert [sorted(entry.forget_sets) for entry in entries] == [[1], [1, 2], [1, 2]]
    for entry in entries:
        adapters = [str(finished.run(number).adapter) for number in entry.active]
        model = load_model(Model(path=str(model_folder), adapters=adapters))
        for number, figures in entry.forget_sets.items():
            expected = probability(model, recipes[number - 1]["data"]["forget"], model_folder)
            assert figures["forget_probability"].value == pytest.approx(expected, rel=1e-4)
            assert figures["forget_probability"].n == 6
            assert all(name.startswith("forget") for name in figures)
    brought_back = [entry.forget_sets[1]["forget_probability"].value for entry in entries]
    assert brought_back[2] > brought_back[1]


def test_no_text_of_the_data_is_in_what_may_be_shown(finished: LedgerFolder) -> None:
    shown = [*finished.path.glob("entries/*"), *finished.path.glob("attestations/*/*")]
    assert len(shown) > 10
    for file in shown:
        content = file.read_text()
        if file.name in ("attestation.json", "test-result.json"):
            content = read_envelope(content.encode()).payload.decode()
            assert "letter 17" not in content  # what was noted stays in the ledger
        assert "SECRET" not in content
        assert "Who is number" not in content


# --- whether it is whole


def test_a_whole_ledger_holds(finished: LedgerFolder, key: Path) -> None:
    checks = verify_ledger(finished.path, key)
    assert [check.holds for check in checks] == [True] * 7 + [None]
    assert file_checksum(finished.entry_file(3)) in checks[-1].said
    assert not failures(verify_ledger(finished.path))


def test_a_hundred_flipped_bits_of_a_hundred_are_found(ledger: LedgerFolder, key: Path) -> None:
    files = sorted(file for file in ledger.path.rglob("*") if file.is_file())
    assert len(files) > 60
    generator = random.Random(0)
    for number in range(100):
        # Every file has its turn before one has a second.
        file = files[number] if number < len(files) else generator.choice(files)
        whole = file.read_bytes()
        content = bytearray(whole)
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        file.write_bytes(content)
        assert found(ledger.path, key), file
        file.write_bytes(whole)
    assert not found(ledger.path, key)


def without(name: str) -> Any:
    def change(ledger: LedgerFolder) -> None:
        place = ledger.path / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()

    return change


def swap_entries(ledger: LedgerFolder) -> None:
    one, other = (ledger.entry_file(number) for number in (1, 2))
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1])
    other.write_bytes(contents[0])


def rewrite_first(ledger: LedgerFolder) -> None:
    """As somebody would who knows how the files are made: with a checksum of its own."""
    file = ledger.entry_file(1)
    with storage.recorded(file):
        write_json(file, {**read_json(file), "received": "2026-11-02T08:00:00+00:00"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without(f"requests/0001/adapter/{WEIGHTS}"), "requests/0001/adapter/adapter_model.safetensors is missing"),
        (without("entries/0002.json"), "0002.json: it is missing"),
        (without("entries/0003.json"), "0003.json: it is missing"),
        (without("entries/checksums.json"), "has no record in checksums.json"),
        (without("attestations/0002"), "Entry 2 (A-2): it is not attested"),
        (without("attestations/0001/test-result.json"), "test-result.json"),
        (without("adapter"), "is not as the entry has it"),
        (without("ledger.json"), "this is no ledger"),
        (swap_entries, "0001.json: it is not as it was written"),
        (rewrite_first, "it is not chained to 0001.json"),
    ],
)  # fmt: skip
def test_what_was_taken_out_or_put_in_is_found(
    ledger: LedgerFolder, key: Path, change: Any, said: str
) -> None:
    change(ledger)
    assert any(said in each for each in found(ledger.path, key)), found(ledger.path, key)


def test_an_attestation_of_another_entry_or_by_another_key_does_not_hold(
    ledger: LedgerFolder, key: Path, tmp_path: Path
) -> None:
    other = make_key(tmp_path / "other")
    assert len(failures(verify_ledger(ledger.path, other))) >= 3
    shutil.rmtree(ledger.attestation(2))
    shutil.copytree(ledger.attestation(1), ledger.attestation(2))
    assert any("is of another entry" in each for each in found(ledger.path, key))


def test_a_test_result_of_another_entry_and_an_entry_that_no_ledger_has_do_not_hold(
    ledger: LedgerFolder, key: Path
) -> None:
    place, other = ledger.attestation(1), ledger.attestation(2)
    shutil.copy(other / "test-result.json", place / "test-result.json")
    sums = read_json(place / "checksums.json")
    write_json(
        place / "checksums.json", {**sums, "test-result.json": file_checksum(place / "test-result.json")}
    )
    assert any("test-result.json is of another entry" in each for each in found(ledger.path, key))
    sums = ledger.entries_folder / "checksums.json"
    write_json(sums, {**read_json(sums), "99999999999.json": "0" * 64})
    assert any("names, an entry that no ledger has" in each for each in found(ledger.path, key))
    write_json(sums, {name: value for name, value in read_json(sums).items() if not name.startswith("9")})
    (ledger.entries_folder / "99999999999.json").write_text("")  # by whose number nobody counts
    assert any("an entry that no ledger has" in each for each in found(ledger.path, key))


def test_what_quotes_samples_may_be_deleted(ledger: LedgerFolder, key: Path) -> None:
    shutil.rmtree(ledger.path / "salts")
    shutil.rmtree(ledger.path / "requests" / "0001" / "eval")
    checks = verify_ledger(ledger.path, key)
    assert not failures(checks)
    said = [check.said for check in checks if check.holds is None]
    assert any("Entry 1 (A-1)" in each and "have been deleted" in each for each in said)


# --- what it is signed with


def test_the_statement_of_an_entry_says_the_same_and_covers_what_was_handed_over(
    finished: LedgerFolder, key: Path
) -> None:
    for folder, number in (("after the first", 1), ("after the second", 2), ("ledger", 3)):
        file = finished.attestation(number) / "attestation.json"
        verified = verify_statement(file, key, finished.path.with_name(folder) / "adapter")
        assert verified.holds
        assert [check.holds for check in verified.checks].count(None) == 0
        assert ("request A-1 is rolled back" in verified.checks[1].said) is (number == 3)
    stated = verify_statement(finished.attestation(2) / "attestation.json", key).predicate
    entry = finished.entry(2)
    assert stated is not None
    assert entry.facts is not None
    content = stated.model_dump(mode="json")
    assert entry.utility is not None
    assert content["utility"] == entry.utility.model_dump(exclude={"measured_on"})
    for name, value in entry.facts.model_dump(mode="json").items():
        assert content[name] == value
    assert content["previous"] == file_checksum(finished.attestation(1) / "attestation.json")
    assert content["position"]["entry"] == file_checksum(finished.entry_file(2))
    earlier = content["earlier"]["1 (A-1)"]["forget_probability"]
    assert earlier["before"] == finished.entry(1).forget_sets[1]["forget_probability"].model_dump()
    assert earlier["after"] == entry.forget_sets[1]["forget_probability"].model_dump()
    result = verify_statement(finished.attestation(2) / "test-result.json", key).predicate
    assert result is not None
    assert result.model_dump()["result"] == "FAILED"  # too few steps: the verdict is that it is not forgotten
    assert result.model_dump()["failedTests"] == ["the forget set is forgotten"]
    rolled_back = verify_statement(finished.attestation(3) / "attestation.json", key).predicate
    assert rolled_back is not None
    assert rolled_back.model_dump()["rolled_back"] == "A-1"


def test_a_run_of_its_own_is_attested(finished: LedgerFolder, key: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished.run(1).path, tmp_path / "run")
    state = read_json(run / "run.json")
    share = {"n": 6, "original": 0.9, "after": 0.4, "attacked": 0.5, "share": 0.25, "low": 0.1, "high": 0.4}
    worse, none = {**share, "share": 0.9}, {**share, "share": None}
    said = {"title": "Asks again", "counts": True, "unfit": None}
    state["attacks"] = {"budget": "cheap", "ground": "reference", "items": 6, "of": 6, "outcomes": {
        "sample": {**said, "variants": {
            "one": {"lead": "rouge", "recoveries": {"rouge": {**share, "share": 0.2}}},
            "two": {"lead": "rouge", "recoveries": {"rouge": share, "strength": worse}},
        }},
        "relearn": {**said, "variants": {"a": {"lead": "rouge", "recoveries": {"rouge": none}}}},
        "rephrase": {**said, "unfit": "the benchmark has no rewordings", "variants": {}},
    }}  # fmt: skip
    write_record(run / "run.json", state)
    private = key.with_suffix("")
    output = attest(run, private, request="B-7", operator="<b>Example & Sons</b>")
    assert output == run / "attestation"
    verified = verify_statement(output / "attestation.json", key, run / "adapter")
    assert [check.holds for check in verified.checks] == [True] * 4
    assert verified.predicate is not None
    content = verified.predicate.model_dump(mode="json", exclude_none=True)
    assert content["request"]["id"] == "B-7"
    exported = export_run(run, "adapter", tmp_path / "exported")
    assert verify_statement(output / "attestation.json", key, exported).holds
    attacks = {attack["category"]: attack["by"] for attack in content["attacks"]}
    assert attacks["regurgitation"] == [
        {"name": "sample", "came_back": {"value": 0.25, "n": 6, "low": 0.1, "high": 0.4}}
    ]
    assert attacks["beyond the EDPB's list"] == [{"name": "relearn"}]
    assert attacks["exfiltration"] == []
    salt = (output / "salt").read_text().strip()
    assert stat.S_IMODE((output / "salt").stat().st_mode) == 0o600
    samples = samples_of(state["data"]["forget"]["source"])
    assert content["forget_set"]["merkle_root"] == merkle_root(samples, salt)
    page = (output / "certificate.html").read_text()
    assert "&lt;b&gt;Example &amp; Sons&lt;/b&gt;" in page
    for part in ("does not prove that the model has forgotten", "sample: 25 % (10 to 40) came back",
                 "exfiltration, model inversion", "Base weights", "expunge verify attestation.json"):  # fmt: skip
        assert part in page
    with pytest.raises(InputError, match="there is an attestation already"):
        attest(run, private)


def test_a_forget_set_that_has_changed_since_is_not_attested(
    finished: LedgerFolder, key: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(finished.run(1).path, tmp_path / "run")
    changed = tmp_path / "changed.jsonl"
    changed.write_text('{"question": "Who?", "answer": "Nobody."}\n')
    recipe = (run / "recipe.yaml").read_text()
    source = read_json(run / "run.json")["data"]["forget"]["source"]
    (run / "recipe.yaml").write_text(recipe.replace(source, str(changed)))
    with pytest.raises(InputError, match="it has changed since"):
        attest(run, key.with_suffix(""))
    assert not (run / "attestation").exists()


# --- in the place of earlier requests


def test_a_request_anew_is_a_run_on_the_original_and_replaces_those_that_it_contains(
    finished: LedgerFolder,
    recipes: list[dict[str, Any]],
    model_folder: Path,
    key: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ledger = LedgerFolder(shutil.copytree(finished.path.with_name("after the second"), tmp_path / "ledger"))
    both = tmp_path / "both.jsonl"
    both.write_text("".join(Path(recipe["data"]["forget"]).read_text() for recipe in recipes))
    recipe = {**recipes[0], "data": {**recipes[0]["data"], "forget": str(both)}}
    entry = add(ledger.path, recipe, identifier="A-3", key=key.with_suffix(""), anew=True)
    assert "in the place of requests 1, 2" in capsys.readouterr().err
    assert (entry.replaces, entry.active) == ([1, 2], [3])
    alone = unlearn(recipe, output=tmp_path / "alone")
    assert (alone.path / "adapter" / WEIGHTS).read_bytes() == (ledger.run(3).adapter / WEIGHTS).read_bytes()
    base = AutoModelForCausalLM.from_pretrained(model_folder)
    handed_over = logits(PeftModel.from_pretrained(base, str(ledger.adapter)))
    torch.testing.assert_close(handed_over, stacked(model_folder, [ledger.run(3).adapter]), rtol=0, atol=1e-5)
    model = load_model(Model(path=str(model_folder), adapters=[str(ledger.run(3).adapter)]))
    for number in (1, 2):
        expected = probability(model, recipes[number - 1]["data"]["forget"], model_folder)
        assert entry.forget_sets[number]["forget_probability"].value == pytest.approx(expected, rel=1e-4)
    assert not failures(verify_ledger(ledger.path, key))
    with pytest.raises(InputError, match="request 3 was run in its place"):
        rollback(ledger.path, "A-1")


def test_what_a_request_anew_does_not_contain_stays_beneath(
    finished: LedgerFolder, recipes: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = LedgerFolder(shutil.copytree(finished.path.with_name("after the second"), tmp_path / "ledger"))
    lines = [Path(recipe["data"]["forget"]).read_text().splitlines(keepends=True) for recipe in recipes]

    def asking(rows: list[str]) -> dict[str, Any]:
        (tmp_path / "rows.jsonl").write_text("".join(rows))
        return {**recipes[0], "data": {**recipes[0]["data"], "forget": str(tmp_path / "rows.jsonl")}}

    with pytest.raises(InputError, match="1 of the 6 samples of request 1 are not in it; 6 of the 6"):
        add(ledger.path, asking(lines[0][1:]), anew=True)
    assert not ledger.pending_file.exists()
    recipe = asking([*lines[1], *lines[0][1:]])
    with killed_at(monkeypatch, "requests/0003/run.json", before=False):
        add(ledger.path, recipe, anew=True)
    entry = add(ledger.path, recipe, resume=True)
    assert (entry.replaces, entry.active) == ([2], [1, 3])
    origin = read_json(ledger.run(3).adapter / "base_fingerprint.json")
    after_first = read_json(ledger.run(2).adapter / "base_fingerprint.json")
    assert origin["fingerprint"] == after_first["fingerprint"]


def test_a_request_anew_that_ends_without_an_adapter_leaves_what_was_there(
    finished: LedgerFolder,
    recipes: list[dict[str, Any]],
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its figures are those of the model with the adapters of before, which is handed over on."""
    ledger = LedgerFolder(shutil.copytree(finished.path.with_name("after the second"), tmp_path / "ledger"))
    before = ledger.entry(2)
    first, second = (Path(recipe["data"]["forget"]) for recipe in recipes)
    (tmp_path / "both.jsonl").write_text(first.read_text() + second.read_text())
    recipe = {**recipes[0], "data": {**recipes[0]["data"], "forget": str(tmp_path / "both.jsonl")}}
    entry = add(ledger.path, recipe, ["training.learning_rate=1e-30"], anew=True)
    assert entry.ended is not None
    assert (entry.replaces, entry.active) == ([], [1, 2])
    assert entry.deliverable == before.deliverable
    assert entry.utility is not None
    assert before.utility is not None
    assert entry.utility.after == pytest.approx(before.utility.after, rel=1e-6)
    both = [before.forget_sets[number]["forget_probability"].value for number in (1, 2)]
    expected = pytest.approx(sum(both) / 2, rel=1e-6)  # six questions each
    assert entry.forget_sets[3]["forget_probability"].value == expected
    assert entry.facts is not None
    figure = entry.facts.figures["forget_probability"]
    assert figure.after is not None
    assert figure.after.value == expected
    assert figure.before is not None
    assert figure.before.value > figure.after.value
    # A forget set that has changed since cannot be compared, and its adapter stays beneath.
    whole = second.read_text()
    try:
        second.write_text(whole.replace("SECRET7", "SECRET99"))
        capsys.readouterr()
        entry = add(ledger.path, recipe, identifier="anew", anew=True)
    finally:
        second.write_text(whole)
    assert (
        "its adapter stays beneath: that of request 2 can no longer be read, or has"
        in capsys.readouterr().err
    )
    assert (entry.replaces, entry.active) == ([1], [2, 4])
    assert add(ledger.path, recipe, identifier="anew", anew=True, resume=True) == entry
    assert command(monkeypatch, "ledger", "list", ledger.path) == 0
    printed = capsys.readouterr().out
    assert "In the place of 1." in printed
    assert "Replaced by 4." in printed
    rollback(ledger.path, "anew")
    assert command(monkeypatch, "ledger", "show", ledger.path, "1") == 0
    assert "Replaced by 4, which is no longer in place." in capsys.readouterr().out


def test_a_request_anew_on_another_model_is_refused_before_it_is_begun(
    finished: LedgerFolder, recipes: list[dict[str, Any]], model_folder: Path, tmp_path: Path
) -> None:
    ledger = LedgerFolder(shutil.copytree(finished.path.with_name("after the first"), tmp_path / "ledger"))
    other = Path(shutil.copytree(model_folder, tmp_path / "other"))
    model = AutoModelForCausalLM.from_pretrained(other)
    with torch.no_grad():
        model.lm_head.weight[0] += 1.0
    model.save_pretrained(other)
    recipe = {**recipes[0], "model": {**recipes[0]["model"], "path": str(other)}}
    with pytest.raises(InputError, match="the ledger is of a model with the fingerprint"):
        add(ledger.path, recipe, identifier="other", anew=True)
    assert not ledger.pending_file.exists()
    assert not ledger.run(2).path.exists()


# --- what is refused


def test_what_an_entry_cannot_be_is_refused(
    ledger: LedgerFolder, recipes: list[dict[str, Any]], key: Path, tmp_path: Path
) -> None:
    first = recipes[0]
    listed = {**first, "data": {**first["data"], "forget": [first["data"]["forget"]]}}
    beneath = {**first, "model": {**first["model"], "adapters": [str(ledger.adapter)]}}
    quantised = {**first, "model": {**first["model"], "quantization": "4bit"}}
    retrain = {**first, "method": {"name": "retrain", "base": first["model"]["path"]}}
    for recipe, said in ((listed, "an entry is one request"), (beneath, "model.adapters"),
                         (retrain, "hands over no adapter"), (quantised, "model.quantization")):  # fmt: skip
        with pytest.raises(InputError, match=said):
            add(ledger.path, recipe)
    unattested = LedgerFolder(shutil.copytree(ledger.path, tmp_path / "unattested"))
    shutil.rmtree(unattested.attestation(3))
    with pytest.raises(InputError, match="the last entry, 3, is not attested"):
        rollback(unattested.path, "A-2", key=key.with_suffix(""))
    with pytest.raises(InputError, match="has a request 'A-1' already"):
        add(ledger.path, first, identifier="A-1")
    taught_again = {**first, "data": {**first["data"], "forget": first["data"]["retain"],
                                      "retain": recipes[1]["data"]["forget"]}}  # fmt: skip
    with pytest.raises(InputError, match="6 of its samples are of the forget set of request 2"):
        add(ledger.path, taught_again)
    shouted = tmp_path / "shouted.jsonl"  # case, space and punctuation make nothing else of it
    rows = [json.loads(line) for line in Path(recipes[1]["data"]["forget"]).read_text().splitlines()]
    shouted.write_text(
        "".join(f"{json.dumps({key: f' {text.upper()}! ' for key, text in row.items()})}\n" for row in rows)
    )
    again = {**taught_again, "data": {**taught_again["data"], "retain": str(shouted)}}
    with pytest.raises(InputError, match="6 of its samples are of the forget set of request 2"):
        add(ledger.path, again)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="holds no ledger"):
        add(tmp_path, first)
    for request, said in (("A-1", "has no adapter in the model any more"), ("3", "is no request"),
                          ("none", "there is no entry")):  # fmt: skip
        with pytest.raises(InputError, match=said):
            rollback(ledger.path, request)
    assert ledger.count == 3
    assert not ledger.pending_file.exists()


def test_a_forget_set_that_is_gone_is_said_not_to_be_measured(
    finished: LedgerFolder, recipes: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(recipes[0]["data"]["forget"])
    whole = file.read_bytes()
    try:
        file.unlink()
        kept, reasons = readable(finished, [1, 2])
        assert [request.number for request in kept] == [2]
        assert "can no longer be read" in reasons[1]
        file.write_bytes(whole.replace(b"SECRET1", b"SECRET9"))
        assert readable(finished, [1, 2])[1] == {1: "its forget set is another one by now"}
    finally:
        file.write_bytes(whole)
    assert readable(finished, [1, 2])[1] == {}


def test_a_ledger_that_has_moved_measures_what_it_did(ledger: LedgerFolder, tmp_path: Path) -> None:
    """The adapters beneath a request's run lie elsewhere then, and its forget set does not ask for them."""
    recipe = ledger.run(2).recipe_file
    moved = re.sub(r"/\S*/requests/0001/adapter", str(tmp_path / "gone" / "adapter"), recipe.read_text())
    assert moved != recipe.read_text()
    recipe.write_text(moved)
    assert readable(LedgerFolder(ledger.path), [1, 2])[1] == {}


def test_what_the_docs_allow_to_delete_ends_no_later_request(ledger: LedgerFolder) -> None:
    shutil.rmtree(ledger.path / "requests" / "0001" / "eval")
    kept, reasons = readable(ledger, [1, 2])
    assert [request.number for request in kept] == [2]
    assert reasons == {1: "what the model said of it is deleted"}


def test_a_request_of_other_data_by_the_same_recipe_is_another_request(
    finished: LedgerFolder, recipes: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Whoever always resumes, and writes the next request into the same file, has asked for something new."""
    before = LedgerFolder(shutil.copytree(finished.path.with_name("after the second"), tmp_path / "ledger"))
    file = Path(recipes[1]["data"]["forget"])
    whole = file.read_bytes()
    assert add(before.path, recipes[1], identifier="A-2", resume=True).number == 2  # it was added before
    try:
        file.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
        with pytest.raises(InputError, match="has a request 'A-2' already"):
            add(before.path, recipes[1], identifier="A-2", resume=True)
    finally:
        file.write_bytes(whole)


def test_the_utility_is_known_by_a_hash_that_tells_nothing_of_the_forget_set(
    recipes: list[dict[str, Any]],
) -> None:
    def hashed(forget: str, retain: str, salt: str) -> str:
        recipe = {**recipes[0], "data": {**recipes[0]["data"], "forget": forget, "retain": retain}}
        loaded = load_recipe(recipe)
        return _measured_on(loaded, Inputs(loaded), salt)

    first, second = (recipe["data"]["forget"] for recipe in recipes)
    retain = recipes[0]["data"]["retain"]
    assert hashed(first, "self", "a") == hashed(second, "self", "a") != hashed(first, "self", "b")
    assert hashed(first, retain, "a") == hashed(
        second, retain, "b"
    )  # of two requests with the same retain set


def test_attacks_leave_the_files_of_a_ledger_as_they_were(ledger: LedgerFolder) -> None:
    with pytest.raises(InputError, match="it is of a ledger"):
        attack_run(ledger.path / "requests" / "0001", ["merge"], "cheap")


# --- killed and gone on with


class Killed(BaseException):
    """As a kill is, nothing below catches it."""


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, name: str, *, before: bool) -> Iterator[None]:
    """Within the block everything ends before, or right after, a file of that name gets its place."""
    replace = os.replace

    def end(source: Any, target: Any) -> None:
        hit = str(target).endswith(name)
        if not (hit and before):
            replace(source, target)
        if hit:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(storage.os, "replace", end)
        with pytest.raises(Killed):
            yield


MOMENTS = [
    ("salts/0002", False), ("pending.json", False), ("requests/0002/run.json", False),
    ("requests/0002/metrics.jsonl", False), ("requests/0002/adapter", False), ("eval/request-1.json", True),
    ("ledger/adapter", True), ("ledger/adapter", False), ("entries/0002.json", True), ("entries/0002.json", False),
    ("attestations/0002", True),
]  # fmt: skip


def test_killed_at_every_moment_and_the_same_entry(
    finished: LedgerFolder,
    recipes: list[dict[str, Any]],
    key: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = LedgerFolder(shutil.copytree(finished.path.with_name("after the first"), tmp_path / "ledger"))
    private = key.with_suffix("")

    def go_on(**more: Any) -> Entry:
        return add(ledger.path, recipes[1], identifier="A-2", key=private, resume=True, **more)

    for name, before in MOMENTS:
        with killed_at(monkeypatch, name, before=before):
            go_on()
        if ledger.count == 1 and ledger.pending_file.exists():
            with pytest.raises(InputError, match="was begun and is not over"):
                add(ledger.path, recipes[1])
            with pytest.raises(InputError, match="with another value of: the recipe"):
                add(ledger.path, recipes[0], resume=True)
            assert any("is not over" in each for each in found(ledger.path, key))
    entry = go_on()
    assert go_on() == entry  # it is there once
    assert ledger.count == 2
    assert not ledger.pending_file.exists()
    assert not failures(verify_ledger(ledger.path, key))
    whole = LedgerFolder(finished.path.with_name("after the second"))
    theirs = whole.entry(2)
    for place in ("adapter", "requests/0002/adapter"):
        assert (ledger.path / place / WEIGHTS).read_bytes() == (whole.path / place / WEIGHTS).read_bytes()
    assert entry.forget_sets == theirs.forget_sets
    assert entry.deliverable == theirs.deliverable
    assert entry.utility == theirs.utility
    assert entry.facts is not None
    assert theirs.facts is not None
    assert (entry.facts.figures, entry.facts.verdict) == (theirs.facts.figures, theirs.facts.verdict)


# --- the command line


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["expunge", *map(str, words)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_commands_read_it(
    ledger: LedgerFolder, key: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "ledger", "list", ledger.path, "--json") == 0
    assert [entry["id"] for entry in json.loads(capsys.readouterr().out)] == ["A-1", "A-2", "rollback-of-A-1"]
    assert command(monkeypatch, "ledger", "list", ledger.path) == 0
    printed = capsys.readouterr().out
    assert "Rolled back." in printed
    assert "attested" in printed
    assert command(monkeypatch, "ledger", "show", ledger.path, "rollback-of-A-1") == 0
    printed = capsys.readouterr().out
    rows = ledger.entry(3).forget_sets
    assert f"{rows[1]['forget_probability'].value:.4g}" in printed
    assert command(monkeypatch, "ledger", "show", ledger.path, "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["fields"] == {"asked": "the person of letter 17"}
    assert command(monkeypatch, "ledger", "verify", ledger.path, "--key", key, "--json") == 0
    assert json.loads(capsys.readouterr().out)["checks"][0]["holds"] is True
    (ledger.adapter / WEIGHTS).write_bytes(b"")
    assert command(monkeypatch, "ledger", "verify", ledger.path) == 1
    assert "FAILS" in capsys.readouterr().out
    for words in (("list", ledger.adapter), ("add", ledger.path, "recipe.yaml", "--field", "nothing"),
                  ("rollback", ledger.path, "2", "--received", "yesterday"),
                  ("rollback", ledger.path, "2", "--received", "0001-01-01T00:00+14:00")):  # fmt: skip
        assert command(monkeypatch, "ledger", *words) == 2
        assert "Error: " in capsys.readouterr().err
