"""The embedded default does what the README promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from expunge.cli import main
from expunge.quickstart import run
from expunge.quickstart.people import invent_people
from expunge.storage import read_json


def test_data_that_a_kill_has_left_in_part_are_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(folder: Path) -> None:
        (folder / "full.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "write_people", killed)
    with pytest.raises(KeyboardInterrupt):
        run.run_quickstart(tmp_path / "run")
    assert not (tmp_path / "run-data").exists()


@pytest.mark.slow
def test_the_quickstart_forgets_and_keeps(monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.argv", ["expunge", "quickstart", "--output", str(tmp_path / "run")])
    main()
    report = Path(capsys.readouterr().out.strip())
    assert report == tmp_path / "run" / "report.html"
    state = read_json(tmp_path / "run" / "run.json")
    before, after = state["metrics"]["before"], state["metrics"]["after"]
    assert before["forget_probability"]["value"] >= 0.8
    assert before["forget_quality"]["value"] < 1e-3
    assert after["forget_quality"]["value"] >= 0.05
    assert after["model_utility"]["value"] >= 0.95 * before["model_utility"]["value"]
    assert state["training"]["qualified"]
    page = report.read_text()
    assert "Forgotten, and the model" in page
    for person in invent_people().forgotten:
        assert person.name not in page
    # A second call shows the run again and repeats nothing.
    main()
    assert capsys.readouterr().err.count("done before") == len(state["phases"])
