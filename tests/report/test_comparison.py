"""Runs side by side: groups, means and deviations, and the tables and the page that show them."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from synthetic_run import KNOWS, MARKER, write_run

from expunge.cli import main
from expunge.errors import InputError
from expunge.report.comparison import compare
from expunge.report.comparison_page import pictures, write_comparison
from expunge.report.comparison_table import comma_separated, in_latex, latex, markdown
from expunge.report.page import write_report


def make(path: Path, seed: int, training: dict[str, Any] | None = None, **arguments: Any) -> Path:
    write_run(path, **arguments)
    state = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**state, "seed": seed, "state": "done"}))
    recipe = yaml.safe_load((path / "recipe.yaml").read_text())
    recipe["training"] |= training or {}
    (path / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "seed": seed, "output": str(path)}))
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds, of which the second forgot nothing; another initialisation; another rate; read only."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        make(folder / "a1", 1),
        make(folder / "vila", 1, initialization="vila"),
        make(folder / "a2", 2, after=KNOWS, utility_after=0.64),
        make(folder / "rate", 1, training={"learning_rate": 0.001}, n=20),
    ]


def test_runs_that_differ_in_their_seed_alone_are_a_group(runs: list[Path]) -> None:
    groups = compare(runs)
    assert [[run.folder.path.name for run in group.runs] for group in groups] == [
        ["a1", "a2"],
        ["vila"],
        ["rate"],
    ]
    assert [group.method for group in groups] == [
        "factored, ihl, nll",
        "vila, ihl, nll",
        "factored, ihl, nll",
    ]
    assert [group.settings for group in groups] == [
        {"training.learning_rate": 0.005}, {}, {"training.learning_rate": 0.001},
    ]  # fmt: skip


def test_the_same_data_elsewhere_are_the_same(runs: list[Path], tmp_path: Path) -> None:
    moved, other = (Path(shutil.copytree(runs[0], tmp_path / name)) for name in ("moved", "other"))
    state = json.loads((moved / "run.json").read_text())
    for part in (state["data"]["forget"], state["data"]["retain"]):
        part["source"] = f"elsewhere/{part['source']}"
    state["model"]["path"] = "elsewhere/full"
    (moved / "run.json").write_text(json.dumps(state))
    state["data"]["retain"]["hash"] = "a" * 64
    (other / "run.json").write_text(json.dumps(state))
    same, else_retained = compare([runs[0], moved, other])
    assert len(same.runs) == 2
    assert [group.settings for group in (same, else_retained)] == [
        {"data.retain": "e" * 12}, {"data.retain": "a" * 12},
    ]  # fmt: skip
    assert [what for what, _ in pictures([same, else_retained])] == ["full, forget10.json"]


def test_questions_asked_otherwise_are_another_group(runs: list[Path], tmp_path: Path) -> None:
    other = Path(shutil.copytree(runs[0], tmp_path / "other"))
    recipe = yaml.safe_load((other / "recipe.yaml").read_text())
    recipe["data"] |= {"template": "chat", "max_length": 64}
    (other / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    groups = compare([runs[0], runs[2], other])
    assert [len(group.runs) for group in groups] == [2, 1]
    assert groups[1].settings == {"data.template": "chat", "data.max_length": 64}
    # Where the same samples lie makes no other group.
    recipe["data"] = yaml.safe_load((runs[0] / "recipe.yaml").read_text())["data"] | {"path": "elsewhere"}
    (other / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert [len(group.runs) for group in compare([runs[0], other])] == [2]


def test_means_deviations_and_successes(runs: list[Path]) -> None:
    """Utility 0.61 and 0.62 of 0.63 before: mean 0.615 / 0.63, deviation 0.01 / √2 / 0.63. Of two runs one forgot."""
    (group,) = compare([runs[0], runs[2]])
    assert group.success_rate == 0.5
    share = group.figures["utility_share"]
    assert (share.mean, share.deviation, share.n) == pytest.approx((0.615 / 0.63, 0.01 / 2**0.5 / 0.63, 2))
    utility = group.metrics["model_utility"]
    assert (utility.mean, utility.deviation) == pytest.approx((0.615, 0.01 / 2**0.5))
    expected = {"epochs": 4, "trainable_share": 123456 / 2400000, "seconds": 229.5, "peak_memory_bytes": 7.7e8,
                "worst_attack_share": 0.03}  # fmt: skip
    assert {name: group.figures[name].mean for name in expected} == pytest.approx(expected)
    (alone,) = compare([runs[0]])
    assert alone.figures["utility_share"].deviation is None
    assert alone.success_rate == 1


def test_what_failed_or_was_brought_back_or_lost_utility_is_no_success(
    runs: list[Path], tmp_path: Path
) -> None:
    lost = make(tmp_path / "lost", 1, utility_after=0.5)
    failed, brought = (Path(shutil.copytree(runs[0], tmp_path / name)) for name in ("failed", "brought"))
    state = json.loads((failed / "run.json").read_text())
    (failed / "run.json").write_text(json.dumps({**state, "state": "failed", "metrics": {}}))
    attacks = state["attacks"]["outcomes"]["quantise"]["variants"]["worst"]["recoveries"]["probability"]
    attacks |= {"share": 0.6, "low": 0.5, "high": 0.7}
    (brought / "run.json").write_text(json.dumps(state))
    without = make(tmp_path / "without", 1, with_attacks=False)
    rates = [compare([path])[0].success_rate for path in (lost, failed, brought, without)]
    assert rates == [0, 0, 0, 1]
    (group,) = compare([runs[0], failed, brought])
    assert group.success_rate == pytest.approx(1 / 3)
    assert group.metrics["model_utility"].n == 2  # the failed one has no figure
    assert group.figures["worst_attack_share"].mean == pytest.approx((0.03 + 0.03 + 0.6) / 3)


def test_across_sets(runs: list[Path], tmp_path: Path) -> None:
    other = Path(shutil.copytree(runs[0], tmp_path / "other"))
    state = json.loads((other / "run.json").read_text())
    state["data"]["forget"] |= {"source": "data/tofu/forget05.json", "hash": "a" * 64}
    state["data"]["retain"] |= {"source": "data/tofu/retain95.json"}
    (other / "run.json").write_text(json.dumps(state))
    assert [len(group.runs) for group in compare([runs[0], other])] == [1, 1]
    (group,) = compare([runs[0], other], across_sets=True)
    assert group.forget_sets == ["data/tofu/forget10.json", "data/tofu/forget05.json"]


def test_tables(runs: list[Path]) -> None:
    groups = compare(runs)
    lines = markdown(groups).splitlines()
    assert len(lines) == 2 + len(groups)
    assert len({len(line) for line in lines}) == 1  # aligned
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert cells[:5] == [
        "factored, ihl, nll (training.learning_rate 0.005)",
        "full",
        "forget10.json",
        "2",
        "50 %",
    ]
    assert cells[7:11] == ["0.615 ± 0.00707", "97.6 % ± 1.1 %", "4.00 ± 0", "5.14 % ± 0.00 %"]
    table = latex(groups)
    assert (
        r"factored, ihl, nll (training.learning\_rate 0.005) & full & forget10.json & 2 & 50 \% & " in table
    )
    assert table.count(r"\\") == 1 + len(groups)
    rows = list(csv.DictReader(io.StringIO(comma_separated(groups))))
    assert float(rows[0]["model_utility_mean"]) == pytest.approx(0.615)
    assert (rows[1]["model_utility_deviation"], rows[1]["model_utility_n"]) == ("", "1")
    assert rows[0]["settings"] == "training.learning_rate=0.005"


def test_signs_of_latex() -> None:
    assert in_latex("a_b & 5 % – x") == r"a\_b \& 5 \% -- x"
    assert in_latex("−1.40 × 10⁻⁶¹") == r"$-$1.40 $\times$ 10$^{-61}$"
    assert in_latex(r"\input{x}") == r"\textbackslash{}input\{x\}"


def test_the_commands(runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    names = [str(run) for run in runs]
    monkeypatch.setattr("sys.argv", ["expunge", "compare", *names, "--json"])
    main()
    groups = json.loads(capsys.readouterr().out)["groups"]
    assert groups[0]["runs"] == [names[0], names[2]]
    assert groups[0]["seeds"] == [1, 2]
    assert groups[0]["metrics"]["model_utility"]["n"] == 2
    monkeypatch.setattr("sys.argv", ["expunge", "compare", *names, "--format", "latex"])
    main()
    assert capsys.readouterr().out.startswith(r"\begin{tabular}")
    write_report(runs[0])
    output = tmp_path / "page.html"
    monkeypatch.setattr("sys.argv", ["expunge", "report", *names, "--output", str(output)])
    main()
    assert capsys.readouterr().out.strip() == str(output)
    page = output.read_text()
    assert "<title>Comparison of 4 unlearning runs</title>" in page
    assert "0.615<small>± 0.00707</small>" in page
    assert page.count('id="figure-comparison-0"') == 1
    (link,) = re.findall('href="([^"#]*)"', page)
    assert (tmp_path / link).resolve() == runs[0] / "report.html"
    assert MARKER not in page
    assert not re.search(r"https?:|<script|<link|<img|@import|src=|\bon[a-z]+=", page)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["compare", "absent", "none"],
            ["absent/run.json: this is no run folder", "none/run.json: this is no run"],
        ),
        (
            ["report", "absent", "none", "--show-text"],
            ["--show-text: the page that compares runs has no texts."],
        ),
        (["report", "absent", "--output", "x.html"], ["--output: one run's report lies in its folder."]),
    ],
)
def test_what_cannot_be_compared(
    arguments: list[str], said: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("sys.argv", ["expunge", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    for words in said:
        assert words in error


def test_a_page_has_no_place_in_the_stead_of_a_folder(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it is a folder"):
        write_comparison(runs, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="has no place"):
        write_comparison(runs, tmp_path / "file" / "page.html")
    assert [path.name for path in tmp_path.parent.glob(f"{tmp_path.name}*")] == [tmp_path.name]


def test_a_sweep_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("{}")
    with pytest.raises(InputError, match="it is the folder of a sweep, not of a run"):
        compare([tmp_path])
