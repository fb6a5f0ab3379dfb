"""The papers' tables and pictures show what the run folders say."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import draw
import numpy as np
import pytest
from draw import Row

import expunge
from expunge.storage import write_json
from small_recipe import small_recipe

EL, MA = "forget_extraction_likelihood", "forget_memorization_accuracy"


def tdec(
    number: int, method: str, epochs: int, likelihood: float, reached: bool = True, rank: int = 16
) -> Row:
    return Row("gpt-neo-125m", method, str(number), rank, "ffn", reached=reached, epochs=epochs,
               metrics={EL: likelihood, MA: 0.2, "reasoning": 0.4 + number / 100}, before={"reasoning": 0.43},
               flops={"importance": 1.0, "training": 9.0, "report": 100.0})  # fmt: skip


def points(panel, name: str) -> list[list[float]]:
    (drawn,) = [each for each in panel.collections if each.get_gid() == name]
    return np.asarray(drawn.get_offsets()).round(9).tolist()


def test_table_1_has_the_means_over_the_sets() -> None:
    rows = [tdec(0, "LoKU", 5, 0.02), tdec(1, "LoKU", 7, 0.04), tdec(2, "GD", 20, 0.3, reached=False)]
    assert draw.table_1(rows).splitlines()[2:] == [
        "| gpt-neo-125m | 16 | GD | 0 of 1 | 20 (1) | 30 (1) | 20 (1) | 0.42 (1) | – | – |",
        "| gpt-neo-125m | 16 | LoKU | 2 of 2 | 6 ± 1.41 (2) | 3 ± 1.41 (2) | 20 ± 0 (2) | 0.405 ± 0.00707 (2) | – "
        "| – |",
    ]


def test_circles_are_runs_that_succeeded_and_their_mean_is_a_line() -> None:
    rows = [
        tdec(0, "LoKU", 5, 0.02), tdec(2, "LoKU", 5, 0.02), tdec(4, "LoKU", 20, 0.3, reached=False),
        tdec(0, "LoKU", 5, 0.02, rank=32),
    ]  # fmt: skip
    panel = draw.figure_3(rows).axes[0]
    assert points(panel, "LoKU o") == [[16, 0.40], [16, 0.42], [32, 0.40]]
    assert points(panel, "LoKU x") == [[16, 0.44]]
    (dashed,) = [each for each in panel.lines if each.get_linestyle() == "--"]
    assert dashed.get_ydata() == [pytest.approx(0.43)] * 2
    (line,) = [each for each in panel.lines if each.get_gid() == "LoKU mean"]
    np.testing.assert_allclose(line.get_xydata(), [[16, 0.41], [32, 0.40]])
    cost = draw.figure_2(rows).axes[0]
    assert points(cost, "LoKU x") == [[10, 0.44]]  # the report is no part of unlearning
    assert points(draw.figure_4(rows).axes[0], "LoKU x") == [[2, 0.44]]  # FFN is the third set of layers


def test_the_curves_of_tofu_go_from_the_original_by_epochs() -> None:
    def at(utility: float, quality: float) -> dict[str, float]:
        return {"model_utility": utility, "forget_quality_log10": quality}

    row = Row("phi-1.5", "LoKU", "forget05", 8, before=at(0.5, -12), reference=at(0.52, 0),
              course=[at(0.49, -8), at(0.48, -3)])  # fmt: skip
    other = Row("phi-1.5", "GA", "forget05", 4, before=at(0.5, -12), course=[at(0.1, -2)])
    figure = draw.curves([row, other], ("LoKU",))
    assert len(figure.axes) == 1
    assert points(figure.axes[0], "LoKU") == [[0.5, -12], [0.49, -8], [0.48, -3]]
    assert [0.52, 0] in [np.asarray(each.get_offsets()).tolist()[0] for each in figure.axes[0].collections]


def test_vilas_pictures() -> None:
    rows = [
        Row("llama-2-7b", "NPO+VILA", "forget10", 8, layers=share, metrics={"forget_quality_log10": quality})
        for share, quality in ((1.0, -1.0), (0.25, -4.0))
    ]
    (line,) = draw.vila_layers(rows).axes[0].lines
    np.testing.assert_allclose(line.get_xydata(), [[25, -4], [100, -1]])
    cost = Row("llama-2-7b", "LoKU", "forget01", 8, seconds={"importance": 7200, "training": 3600})
    bars = {bar.get_gid(): (bar.get_y(), bar.get_height()) for bar in draw.vila_cost([cost]).axes[0].patches}
    assert bars == {"LoKU importance": (0, 2), "LoKU adapter": (2, 0), "LoKU training": (2, 1)}


def test_figure_6_goes_from_task_to_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1").mkdir()
    for number, accuracy in ((1, 0.41), (2, 0.40)):
        metrics = {"reasoning_accuracy": {"value": accuracy}}
        write_json(tmp_path / f"{number}.reasoning.json", {"metrics": metrics})
    write_json(tmp_path / "request-1.json", {"metrics": {EL: {"value": 0.3}}})
    recipe = SimpleNamespace(
        method=SimpleNamespace(name="unlearn"),
        objective=SimpleNamespace(forget="ihl", retain="nll"),
        adapter=SimpleNamespace(initialization="fila"),
    )

    def request(number: int) -> SimpleNamespace:
        return SimpleNamespace(
            recipe=recipe,
            path=tmp_path / str(number),
            metrics=lambda stage: {EL: SimpleNamespace(value=0.1)},
            evaluation=lambda name: tmp_path / f"{name}.json",
        )

    several = SimpleNamespace(state=SimpleNamespace(requests=[1, 2]), request=request)
    monkeypatch.setattr(draw, "ContinualFolder", lambda folder: several)
    reasoning, dialogue, _, left = draw.figure_6([tmp_path]).axes
    np.testing.assert_allclose(reasoning.lines[0].get_xydata(), [[1, 0.41], [2, 0.40]])
    assert len(dialogue.lines[0].get_xydata()) == 0  # nothing was measured
    np.testing.assert_allclose(left.lines[0].get_xydata(), [[1, 0.1], [2, 0.2]])
    assert left.lines[0].get_label() == "LoKU"


def test_what_is_left_of_all_tasks_so_far(tmp_path: Path) -> None:
    for number, value in ((1, 0.1), (2, 0.4)):
        write_json(tmp_path / f"request-{number}.json", {"metrics": {EL: {"value": value}}})
    run = SimpleNamespace(
        metrics=lambda stage: {EL: SimpleNamespace(value=0.7)},
        evaluation=lambda name: tmp_path / f"{name}.json",
    )
    assert draw._likelihood_left(run, 3) == pytest.approx(0.4)
    assert draw._likelihood_left(run, 1) == 0.7


def test_a_row_is_read_from_a_run_and_the_logs_beside_it(
    model_folder: Path, data_folder: Path, tmp_path: Path
) -> None:
    recipe = small_recipe(model_folder, data_folder)
    run = expunge.unlearn(recipe, output=tmp_path / "run")
    write_json(tmp_path / "run.dialogue.json", {"metrics": {"dialogue_f1": {"value": 0.1}}})
    write_json(tmp_path / "before.dialogue.json", {"metrics": {"dialogue_f1": {"value": 0.2}}})
    (row,) = draw.read([tmp_path / "run", tmp_path / "run.dialogue.json"])
    assert row.before["dialogue"] == 0.2
    assert (row.method, row.rank, row.epochs, len(row.course)) == ("IHL+FACTORED", 2, 2, 2)
    assert row.metrics == {
        **{name: metric["value"] for name, metric in run.metrics["after"].items()},
        "dialogue": 0.1,
    }
    assert row.course[1]["forget_probability"] < row.before["forget_probability"]
    assert row.flops["training"] > row.flops["importance"] > 0
    assert row.seconds["training"] > 0
    assert row.stored == (tmp_path / "run" / "importance.safetensors").stat().st_size
    draw.main(["table-1", str(run.path), "--output", str(tmp_path / "out" / "table.md")])
    assert "| IHL+FACTORED | 1 of 1 | 2 (1) |" in (tmp_path / "out" / "table.md").read_text()
