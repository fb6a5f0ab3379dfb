"""The report of a synthetic run: its words and figures against the files that it is made from."""

from __future__ import annotations

import json
import re
import stat
from html.parser import HTMLParser

import pytest
from synthetic_run import FORGOT, KNOWS, MARKER  # the one beside this file

from expunge.cli import main
from expunge.errors import InputError
from expunge.report.page import write_report
from expunge.report.rewrite import report_run
from expunge.report.samples import blocked_out

FIGURES = ("attacks", "frontier", "truth-ratio", "losses", "importance")


class Table(HTMLParser):
    """Collects the exact values in `<data value=…>` per row of the table of metrics, and every id."""

    def __init__(self, page: str):
        super().__init__()
        self.rows: dict[str, list[float]] = {}
        self.shown: dict[str, str] = {}
        self.ids: list[str] = []
        self._row: str | None = None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "tr":
            self._row = values.get("data-metric")
        if self._row and tag == "data":
            self.rows.setdefault(self._row, []).append(float(values["value"]))

    def handle_endtag(self, tag):
        if tag == "tr":
            self._row = None

    def handle_data(self, data):
        if self._row:
            self.shown[self._row] = self.shown.get(self._row, "") + data


def page_of(run, **arguments) -> str:
    return write_report(run, **arguments).read_text(encoding="utf-8")


def figures_in(page: str) -> set[str]:
    return set(re.findall(r'id="figure-([a-z-]+)"', page))


def test_every_figure_of_the_table_is_that_of_run_json(make_run):
    run = make_run()
    metrics = json.loads((run / "run.json").read_text())["metrics"]
    table = Table(page_of(run))
    names = {name for stage in metrics.values() for name in stage}
    assert set(table.rows) == names
    for name in names:
        expected = [metrics[stage][name]["value"] for stage in metrics if name in metrics[stage]]
        assert table.rows[name] == expected
    assert re.sub(r"\s+", " ", table.shown["world_facts_truth_ratio"]).strip() == (
        "World facts: truth ratiohigher is better117 "
        "0.5500.520 to 0.580 0.5300.500 to 0.560 0.5550.525 to 0.585"
    )


def test_verdict_comes_first_and_says_n(make_run):
    page = page_of(make_run())
    assert page.index("Forgotten, and the model&#39;s utility is kept.") < page.index("What was asked")
    assert "N = 120" in page
    assert "No sign of over-unlearning" in page


@pytest.mark.parametrize(
    ("arguments", "headline"),
    [
        ({"after": (-0.98, 0.3)}, "Partly forgotten, and"),
        ({"after": KNOWS}, "Not forgotten;"),
        ({"after": (0.3, 0.02)}, "Pushed past forgetting;"),
        ({"utility_after": 0.5}, "Forgotten, but the model&#39;s utility is not kept."),
        ({"with_reference": False}, "Recalled less, but whether it is forgotten cannot be said;"),
        ({"benchmark": "memorization"}, "Forgotten, and"),
        ({"benchmark": "memorization", "after": KNOWS}, "Not forgotten;"),
    ],
)
def test_headline_of_each_case(make_run, arguments, headline):
    assert f'<p class="headline">{headline}' in page_of(make_run(**arguments))


def test_direction_of_the_truth_ratios_comes_from_the_logs(make_run):
    """Past the reference and short of it have the same p-value; only the logs tell which it is."""
    page = page_of(make_run(after=(0.3, FORGOT[1])))
    assert "Pushed past forgetting" in page
    assert "the truth ratios lie beyond the reference&#39;s" in page


def test_the_first_screen_is_for_a_reader_who_has_to_decide(make_run):
    """What was to go, the verdict, one figure (that of run.json), what is against it, what next; no statistics."""
    run = make_run(after=KNOWS)
    page = page_of(run)
    first = page.split("<h1>")[1].split("</section>")[0]
    assert (
        "To be forgotten: 120 examples from data/tofu/forget10.json, by the model models/tofu-tiny/full"
        in first
    )
    stages = json.loads((run / "run.json").read_text())["metrics"]
    before, after, reference = (stages[stage]["forget_probability"]["value"] for stage in stages)
    assert f'<data value="{after}">{100 * after:.1f} %</data>' in first
    assert (
        f"Mean probability of the forget answers after unlearning; {100 * before:.1f}\u00a0% before, "
        f"{100 * reference:.1f}\u00a0% for a model that never saw it. Forgotten means as for that model. "
        "N\u00a0=\u00a0120."
    ) in first
    assert "<dd>The forget set is still recalled.</dd>" in first
    tip = "Train for longer (more training.epochs), or in larger steps (a higher training.learning_rate)."
    assert f"<dd>{tip}</dd>" in first
    assert not re.search("Kolmogorov|KS|p-value|Forget Quality", first)
    rest = page.split("</section>", 1)[1]
    assert rest.count("<summary><h2>") == 8
    assert "Kolmogorov–Smirnov" in rest


def test_sections_without_content_do_not_appear(make_run):
    run = make_run(with_attacks=False, with_reference=False, initialization="default")
    for file in [*run.glob("eval/*.json"), *run.glob("*.jsonl")]:
        file.unlink()
    page = page_of(run)
    assert re.findall(r"<summary><h2>([^<]*)", page) == [
        "The reasons, with their figures", "Before and after", "What was asked", "Cost", "To repeat it",
    ]  # fmt: skip
    assert "`" not in page.split("</style>")[1]


def test_hashes_are_short_above_and_whole_below(make_run):
    page = page_of(make_run())
    asked, repeat = page.split("<h2>What was asked")[1].split("<h2>To repeat it")
    assert f'<code title="{"e" * 64}">{"e" * 12}…</code>' in asked
    assert f"<code>{'e' * 64}</code>" in repeat
    assert "f" * 12 not in page  # of the forget set: by it a short text can be guessed


def test_samples_are_blocked_out_worst_first(make_run):
    """Of `A born in Rome` the model says all, of the next nothing, of the third a half: 2 of its 4 words."""
    run = make_run(n=3)
    file = run / "eval" / "after.json"
    log = json.loads(file.read_text())
    said = ("Anna born in Rome", "Nobody knows", "Anna of Rome")
    for record, generation in zip(log["sets"]["forget"], said, strict=True):
        record |= {"truth": "Anna born in Rome", "generation": generation}
    file.write_text(json.dumps(log))
    page = page_of(run)
    rows = re.findall(r'<tr><th scope="row">(\d)</th><td data-label="Right answer">([^<]*)</td>.*'
                      r'data-label="Generated after">([^<]*)<small>(\d+) %</small>', page)  # fmt: skip
    block = "███"
    truth = f"{block} {block} in {block}"
    assert rows == [
        ("0", truth, truth, "100"), ("2", truth, f"{block} of {block}", "50"), ("1", truth, f"{block} {block}", "0"),
    ]  # fmt: skip
    for word in ("Anna", "born", "Rome", "Nobody"):
        assert word not in page


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("She was born in Rome", "███ was ███ in ███"),
        ("The Who", "███ ███"),
        ("It", "███"),
        ("who is it", "███ ███ ███"),  # where nothing else is said these are the answer
        ("To Have and Have Not", "███ ███ and ███ ███"),
    ],
)
def test_no_name_is_read_through_the_blocks(text, shown):
    assert blocked_out(text) == shown


def test_texts_are_blocked_out_or_whole_with_their_beginnings(make_run):
    """As questions; the first text was not gone on with, and the original's log is of an earlier version."""
    run = make_run(n=3)
    for stage, said in (("after", ("Anna in Rome", "Nobody knows")), ("reference", ("Rome", "Paris <at>"))):
        file = run / "eval" / f"{stage}.json"
        log = json.loads(file.read_text())
        for record, written in zip(log["sets"]["forget"], (None, *said), strict=True):
            record |= {"truth": None, "generation": None}
            if written:
                record["continued"] = {
                    "begun": "Dear Anna of",
                    "truth": "Anna born in Rome",
                    "written": written,
                }
        file.write_text(json.dumps(log))
    file = run / "eval" / "before.json"
    log = json.loads(file.read_text())
    for record in log["sets"]["forget"]:
        record |= {"truth": None, "generation": None}
    file.write_text(json.dumps(log))
    cells = (
        r'<tr><th scope="row">(\d)</th><td data-label="Beginning">([^<]*)</td>'
        r'<td data-label="How it goes on">([^<]*)</td>'
        r'<td data-label="Written before">([^<]*)</td><td data-label="Written after">([^<]*)<small>(\d+) %</small></td>'
        r'<td data-label="By the reference">([^<]*)<small>(\d+) %</small></td></tr>'
    )
    page = page_of(run)
    block = "███"
    begun, truth = f"{block} {block} of", f"{block} {block} in {block}"
    assert re.findall(cells, page) == [
        ("1", begun, truth, "–", f"{block} in {block}", "75", block, "25"),
        ("2", begun, truth, "–", f"{block} {block}", "0", f"{block} {block}", "0"),
    ]
    assert "The 2 texts with which" in page
    for word in ("Dear", "Anna", "born", "Rome", "Nobody"):
        assert word not in page
    whole = write_report(run, show_text=True).read_text(encoding="utf-8")
    assert re.findall(cells, whole) == [
        ("1", "Dear Anna of", "Anna born in Rome", "–", "Anna in Rome", "75", "Rome", "25"),
        ("2", "Dear Anna of", "Anna born in Rome", "–", "Nobody knows", "0", "Paris &lt;at&gt;", "0"),
    ]


def test_the_picture_has_the_other_trials_of_the_learning_rate(make_run):
    run = make_run()
    assert "trial of another learning rate" not in page_of(run)
    state = json.loads((run / "run.json").read_text())
    trial = {
        "learning_rate": 0.001,
        "state": "kept",
        "left": False,
        "stopped": None,
        "epochs": 5,
        "best_epoch": 2,
    }
    state["tuning"] = {"questions": 20, "trials": [trial, trial], "chosen": 2}
    (run / "run.json").write_text(json.dumps(state))
    (run / "trials" / "1").mkdir(parents=True)
    (run / "trials" / "1" / "metrics.jsonl").write_text((run / "metrics.jsonl").read_text())
    assert "trial of another learning rate</text>" in page_of(run)


def test_no_forgotten_text_without_show_text(make_run):
    run = make_run()
    assert MARKER in (run / "eval" / "after.json").read_text()
    assert MARKER in (run / "run.json").read_text()
    page = page_of(run)
    for word in (MARKER, *MARKER.split()):
        assert word not in page
    assert "was born" not in page


def test_show_text_has_every_answer_escaped(make_run):
    page = page_of(make_run(n=20), show_text=True)
    for index in range(20):
        assert f'<td data-label="Right answer">{MARKER} was born &lt;in&gt; {1900 + index}</td>' in page
    assert page.count(f'">{MARKER} generated 7<small>') == 3  # before, after, by the reference
    assert "<in>" not in page
    assert "do not pass it on" in page


def test_the_command_writes_it_again_and_texts_only_for_their_owner(make_run, monkeypatch, capsys, tmp_path):
    run = make_run()
    plain = page_of(run)
    for options, private, marked in ((["--show-text"], True, True), ([], False, False)):
        monkeypatch.setattr("sys.argv", ["expunge", "report", str(run), *options])
        main()
        written = run / "report.html"
        assert capsys.readouterr().out.strip() == str(written)
        assert (stat.S_IMODE(written.stat().st_mode) == 0o600) is private
        assert (MARKER in written.read_text()) is marked
    assert written.read_text() == plain
    (tmp_path / "continual.json").write_text("{}")
    with pytest.raises(InputError, match=r"--show-text: .* is a run of several requests"):
        report_run(tmp_path, show_text=True)


def test_nothing_is_loaded_from_outside_and_no_script_runs(make_run):
    page = page_of(make_run())
    assert page.count("<style") == 1
    assert not re.search(r"https?:|//[a-z]|<script|<link|<img|@import|src=|\bon[a-z]+=", page)


def test_the_same_files_give_the_same_bytes(make_run):
    run = make_run()
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first
    assert not list(run.glob("*.partial"))


def test_ids_are_unique_and_figures_are_described(make_run):
    page = page_of(make_run())
    ids = Table(page).ids
    assert len(ids) == len(set(ids))
    assert len(re.findall(r'<svg [^>]*role="img" aria-label="[^"]{40,}"', page)) == len(FIGURES)


def test_text_in_figures_can_be_searched_and_colours_follow_the_page(make_run):
    page = page_of(make_run())
    assert "95 % of the utility before</text>" in page
    assert "forget loss</text>" in page
    assert "var(--reference)" in page
    assert "#0072b2" not in page


@pytest.mark.parametrize(
    ("arguments", "removed", "expected"),
    [
        ({}, [], set(FIGURES)),
        ({"initialization": "default"}, [], {"attacks", "frontier", "truth-ratio", "losses"}),
        ({"benchmark": "memorization"}, [], {"attacks", "frontier", "losses", "importance"}),
        ({"with_reference": False}, [], set(FIGURES) - {"attacks"}),
        ({}, ["metrics.jsonl"], {"attacks", "truth-ratio", "losses", "importance"}),
        ({}, ["steps.jsonl"], {"attacks", "frontier", "truth-ratio", "importance"}),
        (
            {},
            ["eval/before.json", "eval/after.json", "eval/reference.json"],
            {"attacks", "frontier", "losses", "importance"},
        ),
        ({}, ["metrics.jsonl", "steps.jsonl", "recipe.yaml"], {"attacks", "truth-ratio", "importance"}),
    ],
)
def test_a_figure_is_there_exactly_when_its_data_is(make_run, arguments, removed, expected):
    run = make_run(**arguments)
    for name in removed:
        (run / name).unlink()
    page = page_of(run)
    assert figures_in(page) == expected
    assert page.count("<figure>") == len(expected)


def test_the_measures_that_appear_are_explained_and_no_others(make_run):
    terms = re.findall(r"<dt>([^<]+)</dt>", page_of(make_run()).split('class="glossary"')[1])
    assert terms == [
        "Forget Quality", "KS distance", "Model Utility", "Probability of the answer", "ROUGE-L recall", "Truth ratio",
    ]  # fmt: skip


def test_axis_of_forgetting_depends_on_the_reference(make_run):
    assert "Forget Quality (log₁₀ p)" in page_of(make_run())


def test_axis_without_a_reference_is_the_probability(make_run):
    page = page_of(make_run(with_reference=False))
    assert "1 − mean probability of the forget answers" in page
    assert "p = 0.05</text>" not in page


def test_axes_say_of_how_many_questions(make_run):
    page = page_of(make_run())
    assert "like a model that never saw the data (N = 120)</text>" in page
    assert "(N = 900)</text>" in page


def test_without_a_reference_no_column_and_no_word_claims_one(make_run):
    page = page_of(make_run(with_reference=False))
    assert "<h2>Before and after</h2>" in page
    assert ">Reference</th>" not in page
    assert "as the reference" not in page
    assert "as a model that never saw it" in page
    table = Table(page)
    assert len(table.rows["forget_probability"]) == 2


def test_with_a_reference_there_is_its_column(make_run):
    page = page_of(make_run())
    assert "<h2>Before, after, and a model that never saw the data</h2>" in page
    assert ">Reference</th>" in page
    assert "as a model that never saw it" not in page


def test_a_number_is_not_parted_from_its_percent_sign(make_run):
    verdict = page_of(make_run()).split('<ul class="findings">')[1].split("</ul>")[0]
    assert "at least 95\u00a0%" in verdict
    assert " %" not in verdict


def test_costs_are_added_up(make_run):
    """Seconds 31.2 + 12.5 + 0.8 + 143 + 40.1 + 1.9 = 229.5; FLOPs 8.242e12; training has the largest peak."""
    page = page_of(make_run())
    total = page[page.index('<tr class="total">') :].split("</tr>")[0]
    values = [float(value) for value in re.findall(r'value="([^"]+)"', total)]
    assert values == pytest.approx([229.5, 8.242e12, 7.7e8])
    assert "3 min 50 s" in total
    assert "8.24 × 10¹²" in total
    assert "770.0 MB" in total
    assert "5.14 % of the model's" in page  # 123456 / 2400000
    assert "an adapter of 987.7 kB instead of a full copy of 9.6 MB, 10.3 % of it" in page


def test_what_was_asked_and_how_to_repeat_it(make_run):
    run = make_run()
    page = page_of(run)
    for text in ("7c1f0a6e52d94b38", "e" * 64, "120 examples from data/tofu/forget10.json", "2.13.0"):
        assert text in page
    assert "LoRA, factored initialisation, rank 8, α 16, 28 modules; forget loss ihl; retain loss nll" in page
    assert (run / "recipe.yaml").read_text() in page
    assert "2026-11-21 21:46 UTC</td>" in page
    state = json.loads((run / "run.json").read_text())
    state["data"]["forget"]["n"] = 1
    (run / "run.json").write_text(json.dumps(state))
    assert "<td>1 example from data/tofu/forget10.json</td>" in page_of(run)


def test_a_run_that_failed_early(make_run, tmp_path):
    run = make_run()
    state = json.loads((run / "run.json").read_text())
    kept = {key: state[key] for key in ("schema", "name", "versions", "model", "data")}
    kept |= {"state": "failed", "phases": {}, "adapter": {}, "metrics": dict.fromkeys(state["metrics"])}
    for file in [*run.glob("eval/*.json"), *run.glob("*.jsonl"), run / "importance.safetensors"]:
        file.unlink()
    (run / "run.json").write_text(json.dumps(kept))
    page = page_of(run)
    assert "The run failed. Forgetting was not measured" in page
    assert figures_in(page) == set()


def test_losses_that_are_not_numbers_leave_a_gap(make_run):
    run = make_run()
    rows = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    for row in rows:
        row["retain_loss"] = None
    rows[-1]["forget_loss"] = float("nan")
    (run / "steps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = page_of(run)
    assert "forget loss</text>" in page
    assert "retain loss</text>" not in page


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(InputError, match=r"run\.json: this is no run folder: there is no run\.json"):
        write_report(tmp_path)
    (tmp_path / "run.json").write_text('{"schema": "other/1"}')
    with pytest.raises(InputError, match=r"its schema is 'other/1', not 'expunge\.run/1'"):
        write_report(tmp_path)


def test_every_broken_file_is_named_at_once(make_run):
    run = make_run()
    (run / "steps.jsonl").write_text("{")
    (run / "eval" / "after.json").write_text("[")
    (run / "eval" / "before.json").write_text("[]")  # whole, but no log
    with pytest.raises(InputError) as error:
        write_report(run)
    assert len(error.value.problems) == 3
    for name in ("steps.jsonl", "after.json", "before.json: it holds a list in place of a dict"):
        assert name in str(error.value)
