"""Continual unlearning on the laptop test bed: four requests, all earlier ones measured again after each.

    python experiments/quality/continual.py --shared ../shared --output runs/continual --show five --final
    python experiments/quality/continual.py --shared ../shared --output runs/continual --show ten --final
    python experiments/quality/continual.py --output runs/continual --of five-0.01-x2-e5 --write PAGE.md

TOFU's own forget sets contain one another, so the requests are cut from the authors (20 questions each):

- `five`: the 20 authors of forget10 in four requests of 5. retain90 never saw any of them, so every request has a
  reference, and its forget quality.
- `ten`: four requests of 10 authors. Requests 1 and 2 are the halves of forget10; 3 and 4 are authors 160 to 179. Every
  reference model has seen those, so they are held against what retain90 makes of the authors that it never saw.
  TOFU has no perturbed answers for them; the file's format asks for some, so other authors' answers stand there,
  and no figure of theirs is reported.

Each show is one recipe with a list of forget sets, run by `expunge.unlearn`. One that was interrupted is gone on with.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml
from peft import PeftModel

from expunge import unlearn
from expunge.adapters.loading import load_model
from expunge.benchmarks.tofu.benchmark import TofuBenchmark
from expunge.benchmarks.tofu.metrics import tofu_metrics
from expunge.data.encoding import Encoder
from expunge.data.templates import choose_template
from expunge.evaluation.log import read_log
from expunge.evaluation.set_metrics import answer_metrics
from expunge.models.loading import load_tokenizer
from expunge.models.settings import Model
from expunge.storage import read_json, write_json

AUTHORS, QUESTIONS = 200, 20
FORGET10 = range(180, 200)
SHOWS: dict[str, list[range]] = {
    "five": [range(start, start + 5) for start in range(180, 200, 5)],
    "ten": [range(180, 190), range(190, 200), range(160, 170), range(170, 180)],
}
MODELS = Path("models") / "tofu-tiny"
LONGEST = 60


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def write_rows(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def questions_of(rows: list[dict[str, Any]], authors: range) -> list[dict[str, Any]]:
    return rows[QUESTIONS * authors.start : QUESTIONS * authors.stop]


def make_data(tofu: Path, folder: Path, requests: list[range], name: str = "request") -> None:
    """TOFU's folder with the forget sets `request1` …, and `kept`: every author that no request names.

    name: of the forget sets, before their numbers
    """
    folder.mkdir(parents=True, exist_ok=True)
    for other in ("retain_perturbed", "real_authors_perturbed", "world_facts_perturbed"):
        (folder / f"{other}.json").write_text((tofu / f"{other}.json").read_text())
    full = read(tofu / "full.json")
    perturbed = read(tofu / "forget10_perturbed.json")
    named = {author for request in requests for author in request}
    for number, authors in enumerate(requests, start=1):
        rows = questions_of(full, authors)
        write_rows(folder / f"{name}{number}.json", rows)
        if authors.start in FORGET10 and authors[-1] in FORGET10:
            place = range(authors.start - FORGET10.start, authors.stop - FORGET10.start)
            known = questions_of(perturbed, place)
        else:
            known = [{**row, "perturbed_answer": others(full, place)} for place, row in enumerate(rows)]
        assert [row["question"] for row in known] == [row["question"] for row in rows]
        write_rows(folder / f"{name}{number}_perturbed.json", known)
    kept = [
        row
        for author in range(AUTHORS)
        if author not in named
        for row in questions_of(full, range(author, author + 1))
    ]
    write_rows(folder / "kept.json", kept)


def others(full: list[dict[str, Any]], place: int) -> list[str]:
    """The answers of five other authors to their question of the same place."""
    return [full[QUESTIONS * author + place % QUESTIONS]["answer"] for author in range(100, 105)]


def recipe(options: argparse.Namespace, data: Path) -> dict[str, Any]:
    requests = SHOWS[options.show]
    reference = {"reference": str(options.shared / MODELS / "retain90")} if options.show == "five" else {}
    return {
        "name": options.show,
        "model": {"path": str(options.shared / MODELS / "full")},
        "data": {
            "format": "tofu",
            "path": str(data),
            "forget": [f"request{number}" for number in range(1, len(requests) + 1)],
            "retain": "kept",
        },
        "adapter": {"initialization": "default", "rank": 8, "alpha": 16},
        "objective": {"forget": "ihl", "retain": "nll", "retain_weight": options.weight},
        "training": {
            "epochs": options.epochs,
            "learning_rate": options.rate,
            "batch_size": options.batch,
            "warmup": "1 epoch",
            "micro_batch_size": 16,
        },
        "evaluation": {"every": options.epochs, "generate": "never", "samples": 100, **reference},
    }


def name_of(options: argparse.Namespace) -> str:
    return f"{options.show}-{options.rate:g}-x{options.weight:g}-e{options.epochs}-b{options.batch}"


def show(options: argparse.Namespace) -> None:
    folder, data = options.output / name_of(options), options.output / f"{options.show}-data"
    make_data(options.shared / "data" / "tofu", data, SHOWS[options.show])
    unlearn(recipe(options, data), output=folder, resume=(folder / "continual.json").exists())
    if options.final:
        final(options.shared, options.output, folder)
        roll_back(options.shared, folder, data)


def final(shared: Path, output: Path, folder: Path) -> None:
    """The combined adapter on the untouched original, on every question of TOFU's own files, with generations."""
    benchmark = TofuBenchmark(shared / "data" / "tofu", "forget10", max_new_tokens=LONGEST)
    models = {
        output / "logs" / "full.json": ("full", None),
        output / "logs" / "retain90.json": ("retain90", None),
        folder / "final.json": ("full", folder / "adapter"),
    }
    for file, (name, adapter) in models.items():
        if file.exists():
            continue
        where = Model(path=str(shared / MODELS / name))
        model = load_model(where)
        if adapter is not None:
            model = PeftModel.from_pretrained(model, str(adapter))
        log = benchmark.evaluate(model, encoder_of(where))
        log.metrics = benchmark.metrics(log, None)
        write_json(file, log.to_json())


def roll_back(shared: Path, folder: Path, data: Path) -> None:
    """Each request left out in turn: the probability of every forget set's answers without its adapter."""
    file = folder / "rolled_back.json"
    if file.exists():
        return
    numbers = range(1, len(read_json(folder / "continual.json")["requests"]) + 1)
    found = {}
    for left_out in numbers:
        adapters = [
            str(folder / "requests" / str(number) / "adapter") for number in numbers if number != left_out
        ]
        where = Model(path=str(shared / MODELS / "full"), adapters=adapters)
        model, encoder = load_model(where), encoder_of(where)
        found[left_out] = {
            number: answer_metrics(
                "forget",
                TofuBenchmark(data, f"request{number}").forget_part().measure(model, encoder).sets["forget"],
            )["forget_probability"].value
            for number in numbers
        }
    write_json(file, found)


def encoder_of(model: Model) -> Encoder:
    tokenizer = load_tokenizer(model)
    return Encoder(tokenizer, choose_template("auto", tokenizer))


def request_table(folder: Path) -> list[str]:
    """A row a model; of each forget set log₁₀ FQ where there is a reference, probability, and exact memorisation."""
    state = read_json(folder / "continual.json")
    requests, original = state["requests"], state["utility"]["original"]
    numbers = range(1, len(requests) + 1)
    with_reference = bool(requests[0]["metrics"]["reference"])
    rows = [
        "| model | utility, share of the original | "
        + " | ".join(f"set {number}" for number in numbers)
        + " |",
        "| --- | --- |" + " --- |" * len(requests),
    ]
    for after in range(len(requests) + 1):
        cells = []
        for number in numbers:
            log = None
            if after == number - 1:
                log = folder / requests[number - 1]["folder"] / "eval" / "before.json"
            elif after >= number:
                name = "after" if after == number else f"request-{number}"
                log = folder / requests[after - 1]["folder"] / "eval" / f"{name}.json"
            cells.append(cell(log, with_reference) if log else "")
        utility = state["utility"]["after"][after - 1] / original if after else 1.0
        title = f"after {after}" if after else "original"
        rows.append(f"| {title} | {utility:.1%} | " + " | ".join(cells) + " |")
    if with_reference:
        logs = [folder / request["folder"] / "eval" / "reference.json" for request in requests]
        share = requests[0]["metrics"]["reference"]["model_utility_teacher_forced"]["value"] / original
        rows.append(f"| retain90 | {share:.1%} | " + " | ".join(cell(log, True) for log in logs) + " |")
    else:
        never_seen = cell(folder.parent / "logs" / "retain90.json", False)
        rows.append(
            f"| retain90 on forget10, which it never saw | | {never_seen} |" + " |" * (len(requests) - 1)
        )
    return rows


def cell(file: Path, with_reference: bool) -> str:
    log = read_log(file, "tofu")
    known = answer_metrics("forget", log.sets["forget"])
    figures = [known[f"forget_{name}"].value for name in ("probability", "exact_memorization")]
    quality = [f"{log.metrics['forget_quality_log10'].value:.2f}"] if with_reference else []
    return " / ".join([*quality, *(f"{value:.3f}" for value in figures)])


def final_table(folder: Path) -> list[str]:
    logs = {
        "original": folder.parent / "logs" / "full.json",
        "after all requests": folder / "final.json",
        "retain90": folder.parent / "logs" / "retain90.json",
    }
    read = {name: read_log(file, "tofu") for name, file in logs.items()}
    benchmark = {name: tofu_metrics(log, read["retain90"]) for name, log in read.items()}
    shown = {
        "forget_quality_log10": "log₁₀ FQ",
        "forget_probability": "forget prob.",
        "forget_rouge": "forget ROUGE",
        "model_utility": "MU",
        "model_utility_teacher_forced": "MU without ROUGE",
        "retain_probability": "retain prob.",
        "retain_rouge": "retain ROUGE",
    }
    rows = ["| model | " + " | ".join(shown.values()) + " |", "| --- |" + " --- |" * len(shown)]
    for name, metrics in benchmark.items():
        rows.append(f"| {name} | " + " | ".join(f"{metrics[each].value:.3f}" for each in shown) + " |")
    return rows


def rolled_back_table(folder: Path) -> list[str]:
    found = read_json(folder / "rolled_back.json")
    rows = [
        "| left out | " + " | ".join(f"set {number}" for number in found) + " |",
        "| --- |" + " --- |" * len(found),
    ]
    for left_out, values in found.items():
        rows.append(
            f"| request {left_out} | " + " | ".join(f"{value:.3f}" for value in values.values()) + " |"
        )
    return rows


def write(path: Path, folders: list[Path]) -> None:
    """Replace what stands between the markers by the tables; the words around them are written by hand."""
    lines = []
    for folder in folders:
        here = read_json(folder / "requests" / "1" / "run.json")
        state = read_json(folder / "continual.json")
        training, objective = (
            yaml.safe_load((folder / "recipe.yaml").read_text())[key] for key in ("training", "objective")
        )
        sizes = ", ".join(str(each["n"]) for each in state["data"]["forget"])
        seconds = sum(
            phase["seconds"]
            for number in range(1, len(state["requests"]) + 1)
            for phase in read_json(folder / "requests" / str(number) / "run.json")["phases"].values()
        )
        lines += [
            f"### `{folder.name}`: N = {sizes} questions to forget",
            "",
            f"Learning rate {training['learning_rate']:g}, λ = {objective['retain_weight']:g}, batch "
            f"{training['batch_size']}, {training['epochs']} epochs a request. {here['machine']['processor']}, "
            f"{here['machine']['cores']} cores, {here['machine']['threads']} thread, {seconds / 60:.0f} minutes beside "
            "other jobs.",
            "",
            *request_table(folder),
            "",
        ]
        if (folder / "final.json").exists():
            lines += ["All of TOFU's own files, the combined adapter on the untouched original:", ""]
            lines += [*final_table(folder), ""]
        if (folder / "rolled_back.json").exists():
            lines += ["Probability of the answers after one request was rolled back:", ""]
            lines += [*rolled_back_table(folder), ""]
    begin, end = "<!-- tables -->", "<!-- end of tables -->"
    before, _, rest = path.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n" + "\n".join(lines).rstrip() + f"\n{end}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--output", type=Path, default=Path("runs/continual"))
    parser.add_argument("--show", choices=tuple(SHOWS))
    parser.add_argument("--rate", type=float, default=1e-2)
    parser.add_argument("--weight", type=float, default=2.0, help="of the retain loss")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32, help="forget samples an optimiser step")
    parser.add_argument(
        "--final", action="store_true", help="then the combined adapter, and each request left out"
    )
    parser.add_argument(
        "--write", type=Path, help="the file whose tables are made anew, of the folders named by --of"
    )
    parser.add_argument("--of", action="append", default=[], help="a folder in the output folder")
    options = parser.parse_args()
    options.shared = options.shared.resolve()
    if options.write:
        write(options.write, [options.output / name for name in options.of])
    else:
        show(options)


if __name__ == "__main__":
    main()
