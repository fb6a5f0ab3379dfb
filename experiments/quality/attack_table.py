"""What every attack brings back of every start: TOFU forget10 on tofu-tiny, and the cheap ones on SmolLM2-135M.

    python experiments/quality/attack_table.py --light --output runs/attack-table --only 0/2
    python experiments/quality/attack_table.py --light --output runs/attack-table --write docs/results/attacks.json
    python experiments/quality/attack_table.py --bed smollm2 --models /tmp/smol --objectives ihl npo --starts directions
    python experiments/quality/attack_table.py --bed smollm2 --write docs/results/attacks-real-model.json

A row is one `expunge.unlearn` at a learning rate of its own, as `starts.py` has it, whose model is then attacked beside
the reference. The search for the rate is the dearest part: what it has found for an objective and a start with the
first seed is given to the other seeds. `--rates FILE` gives rates in its place, as {"ihl default": 0.004}.

The attacks are those of `expunge attack --budget full`, on all questions. With `--light` they are asked 50 of them
(`--questions`), drawn by the seed: by the attacks of the budget cheap, with more samples and finetunings
(`sample-light`, `relearn-light`), and those that the budget full alone has but `relearn-published`. On smollm2 they are
those of the budget cheap. What the reference and the original say depends on the seed alone, so it is measured once and
shared by all rows.

Three rows have no run, and come last of every seed: the reference in the place of the unlearned model; the original;
and a second model that never saw the questions (retain95, asked those of forget05): what the attacks make of nothing.

Seed by seed, so that the script may be stopped at any time, even within an attack, and goes on there. Several processes
may share an output folder (`--only K/N`), each with rows of its own. `--write` makes the JSON of all that is finished,
and the tables of the page beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
import pages
import starts
from starts import Row

from expunge.adapters.loading import load_model
from expunge.attacks.attack import Attack
from expunge.attacks.curves import steps_to_half
from expunge.attacks.items import drawn, make_items
from expunge.attacks.registry import attacks
from expunge.attacks.relearn import Arm, Relearn
from expunge.attacks.sample import Sample
from expunge.attacks.settings import CHEAP_ITEMS, Budget
from expunge.data.samples import QuestionAnswer
from expunge.folder.attacks import AttackFolder
from expunge.folder.run import RunFolder
from expunge.folder.state import AttackFacts, AttackOutcome
from expunge.models.settings import Model
from expunge.report.attacks import worst_first, worst_of
from expunge.run.attack import Target, of_budget, run_attacks
from expunge.run.inputs import Inputs
from expunge.run.targets import IN_FULL, target_of_run
from expunge.storage import read_json, read_json_lines, write_json, write_record

FORGET = "forget10"
#: Its last questions are those of forget05.
FORGET05 = 200
FACTS = "facts.json"
#: Attacks that never took so many seconds have no line of their own in the table of seconds.
SHOWN_SECONDS = 10
#: What is attacked without a run: role → what it is called on the page.
WITHOUT_RUN = {
    "reference": "the reference itself",
    "original": "the original itself",
    "second": "retain95, asked for forget05",
}
#: The beginning of the page; what the figures mean is written into it by hand.
HOW_IT_WAS_MADE = """
TOFU forget10, unlearned by `expunge.unlearn` from every start at a learning rate of its own (LoRA r 32, α 64), then
attacked beside the reference, which never saw the forget set ([what is compared](../attacks.md)). Made by
`python experiments/quality/attack_table.py`; `rows` of [attacks.json](attacks.json) has every variant with N, interval
and raw values. The rate was searched for with the first seed and given to the others.

A share is that of the lost knowledge which the worst variant of the attack brought back: the mean over the seeds, and
in brackets the lowest and the highest end of the seeds' 95 % intervals (bootstrap over the questions). Attacks that do
not count take the original model or teach the answers. Steps to half recovery are those of each seed.
""".strip()


class RelearnLight(Relearn):
    def __init__(self) -> None:
        super().__init__(
            (
                Arm("half of the forget set, LoRA", "half", True, (1e-3, 5e-3)),
                Arm("half of the forget set, all weights", "half", False, (1e-4, 1e-3)),
                Arm("the retain set, LoRA", "retain", True, (1e-3, 5e-3)),
                Arm("unrelated questions, LoRA", "benign", True, (1e-3, 5e-3)),
            )
        )


class SampleLight(Sample):
    def __init__(self) -> None:
        super().__init__(samples=16)


@dataclass(frozen=True)
class Sizes:
    """How much is asked.

    questions: drawn by the seed; None: all
    attacks:   budget → the attacks that are made with it
    """

    name: str
    questions: int | None
    attacks: dict[Budget, list[str]]

    @classmethod
    def of(cls, bed: str, light: bool, questions: int) -> Sizes:
        cheap = list(of_budget("cheap"))
        if bed == "smollm2":
            return cls("cheap", CHEAP_ITEMS, {"cheap": cheap})
        if not light:
            return cls("full", None, {"full": list(of_budget("full"))})
        lighter: dict[str, type[Attack]] = {"relearn": RelearnLight, "sample": SampleLight}
        more = [name for name in of_budget("full") if name not in (*cheap, "relearn-published")]
        for name, attack in lighter.items():
            attacks.register(f"{name}-light", attack)
            more.append(f"{name}-light")
        return cls(
            "light",
            questions,
            {"cheap": [name for name in cheap if name not in lighter], "full": more},
        )


def run_row(
    row: Row,
    rate: float | None,
    output: Path,
    shared: Path,
    models: Path | None,
    sizes: Sizes,
    overrides: Sequence[str],
) -> None:
    """Make the row's run, and attack its model."""
    folder = output / row.name
    if (folder / FACTS).exists():
        return
    heavy = [each for each in starts.HEAVY if each != "adapter"]
    starts.run(row, shared, models, output, rate, heavy, overrides=overrides)
    if starts.figures(folder) is None:
        return  # it handed over no model
    print(f"{row.name}: attacks", flush=True)
    attack(target_of(row, output, shared, models, sizes), folder, common(row, output, sizes), sizes)
    publish(folder / "attacks", common(row, output, sizes))


def run_without(role: str, like: Row, output: Path, shared: Path, models: Path | None, sizes: Sizes) -> None:
    """Attack a model that no run has made, as the rows like `like` are attacked.

    Of the reference and the original all is known, as nothing in an attack is random but what the seed fixes; they are
    asked all the same. The second model is asked other questions, those that it never saw either.
    """
    folder = output / f"{like.bed}-{role}-s{like.seed}"
    if (folder / FACTS).exists():
        return
    print(f"{folder.name}: attacks", flush=True)
    target = replace(target_of(like, output, shared, models, sizes), change={})
    if role == "second":
        second = shared / "models" / "tofu-tiny" / "retain95"
        whole = target_of(like, output, shared, models, replace(sizes, questions=None))
        forget = drawn(whole.forget[-FORGET05:], sizes.questions, like.seed)
        target = replace(target, forget=forget, after=partial(load_model, Model(path=str(second), **IN_FULL)))
        attack(target, folder, None, sizes)
    else:
        known = target.reference if role == "reference" else target.original
        assert known is not None
        attack(replace(target, after=known), folder, common(like, output, sizes), sizes)


def target_of(row: Row, output: Path, shared: Path, models: Path | None, sizes: Sizes) -> Target:
    """The model of a row, with the questions that the seed draws, and a holdout: authors whom no model has seen."""
    folder = RunFolder(output / row.name)
    _, reference = starts.places(row, shared, models)
    inputs = Inputs(folder.recipe)
    target = target_of_run(inputs, folder, str(reference))
    unseen = [QuestionAnswer(**each) for each in read_json_lines(shared / "data" / "tofu" / "holdout01.json")]
    # The same for all rows of a seed, so that they may share what the reference and the original say.
    identity = {"bed": row.bed, "forget": row.forget, "seed": row.seed, "sizes": sizes.name}
    return replace(
        target,
        forget=drawn(target.forget, sizes.questions, row.seed),
        holdout=make_items(unseen, inputs.encoder, {}),
        identity=identity,
    )


def attack(target: Target, folder: Path, known: Path | None, sizes: Sizes) -> None:
    """known: the folder with what the reference and the original say to the same questions, once it is there"""
    records = folder / "attacks"
    if known and known.exists() and not records.exists():
        shutil.copytree(known, records)
    made = [
        run_attacks(target, AttackFolder(records / budget), budget, names)
        for budget, names in sizes.attacks.items()
    ]
    facts = made[0].model_copy(
        update={"outcomes": {name: outcome for each in made for name, outcome in each.outcomes.items()}}
    )
    own = {
        file.stem: sum(each["seconds"] for each in read_json(file)["measured"].get("after", {}).values())
        for file in sorted(records.glob("*/*.json"))
    }
    write_json(folder / FACTS, {"attacks": facts.model_dump(mode="json"), "seconds": own})


def common(row: Row, output: Path, sizes: Sizes) -> Path:
    return output / "known" / f"{row.logs}-{sizes.name}-s{row.seed}"


def publish(records: Path, known: Path) -> None:
    """Leave for the other rows of the seed what the reference and the original said."""
    made = known.with_name(f"{known.name}.{os.getpid()}")
    for file in sorted(records.glob("*/*.json")) if not known.exists() else ():
        record = read_json(file)
        record["measured"].pop("after", None)
        record["over"] = [side for side in record["over"] if side != "after"]
        write_record(made / file.parent.name / file.name, record, private=True)
    if not known.exists():
        made.rename(known)


def gather(output: Path) -> list[dict[str, Any]]:
    """The figures of every finished row; those without a run have a `role`."""
    rows = []
    for file in sorted(output.glob(f"*/{FACTS}")):
        name, content = file.parent.name, read_json(file)
        if (file.parent / "run.json").exists():
            row = {**asdict(Row.called(name)), **(starts.figures(file.parent) or {})}
        else:
            bed_role, _, seed = name.rpartition("-s")
            bed, _, role = bed_role.rpartition("-")
            row = {"bed": bed, "role": role, "seed": int(seed)}
        facts = AttackFacts.model_validate(content["attacks"])
        worst = worst_first(facts)
        rows.append(
            {
                **row,
                "items": facts.items,
                "of": facts.of,
                "worst": worst[0].name if worst else None,
                "attacks": {name: outcome_figures(outcome) for name, outcome in facts.outcomes.items()},
                "attack_seconds": content["seconds"],
            }
        )
    return rows


def outcome_figures(outcome: AttackOutcome) -> dict[str, Any]:
    """The variants, by the measure that counts, and the worst of them."""
    worst = worst_of("", outcome)
    return {
        "counts": outcome.counts,
        "unfit": outcome.unfit,
        "worst": worst.variant_name if worst else None,
        "variants": {
            name: {
                **variant.recoveries[variant.lead].to_json(),
                "lead": variant.lead,
                "curves": variant.curves,
                "facts": variant.facts,
                "two_sided": variant.two_sided,
                "steps_to_half": {
                    side: steps_to_half(course, variant.recoveries[variant.lead].original)
                    for side, course in variant.curves.items()
                },
            }
            for name, variant in outcome.variants.items()
        },
    }


def tables(rows: Sequence[dict[str, Any]]) -> dict[str, list[list[str]]]:
    """The tables of the page, cell by cell. A cell is of all seeds of its row."""
    made: dict[str, list[list[str]]] = {}
    for bed in dict.fromkeys(row["bed"] for row in rows):
        of_bed = [row for row in rows if row["bed"] == bed]
        runs = grouped([row for row in of_bed if "role" not in row], "objective", "start")
        bare = grouped([row for row in of_bed if "role" in row], "role")
        made[f"{bed}: the rows"] = [
            ["objective", "start", "seeds", "learning rate", "log₁₀ FQ", "utility", "probability of the answer",
             "worst attack that counts", "it brings back"],
            *([*key, *_of_runs(seeds)] for key, seeds in runs.items()),
        ]  # fmt: skip
        for objective in dict.fromkeys(key[0] for key in runs):
            columns = {key[1]: seeds for key, seeds in runs.items() if key[0] == objective}
            made[f"{bed}: {objective}"] = _by_attack(columns)
        if bare:
            columns = {WITHOUT_RUN[key[0]]: seeds for key, seeds in bare.items()}
            made[f"{bed}: models without a run"] = _by_attack(columns)
        courses = list(dict.fromkeys(name for row in of_bed for name in _courses(row)))
        made[f"{bed}: steps to half recovery"] = [
            ["objective", "start", *courses],
            *([*key, *(_half(seeds, name) for name in courses)] for key, seeds in runs.items()),
        ]
        made[f"{bed}: seconds of a row"] = [
            ["attack", "median", "greatest"],
            *(
                [name, f"{statistics.median(taken):.0f}", f"{max(taken):.0f}"]
                for name, taken in _seconds([row for row in of_bed if "role" not in row]).items()
                if max(taken) >= SHOWN_SECONDS
            ),
        ]
    return made


def grouped(rows: Sequence[dict[str, Any]], *keys: str) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


def _of_runs(seeds: Sequence[dict[str, Any]]) -> list[str]:
    def mean(key: str) -> float:
        return statistics.mean(row[key] for row in seeds)

    rates = sorted({row["learning_rate"] for row in seeds})
    quality = statistics.mean(row["log10_forget_quality"]["all"] for row in seeds)
    worst = list(dict.fromkeys(row["worst"] or "none resolved" for row in seeds))
    return [
        str(len(seeds)),
        ", ".join(f"{rate:.2g}" for rate in rates),
        f"{quality:.2f}",
        f"{mean('utility_share'):.1%}",
        f"{mean('forget_probability'):.3f}",
        ", ".join(worst),
        _shares([row["attacks"].get(row["worst"]) for row in seeds]),
    ]


def _by_attack(columns: dict[str, list[dict[str, Any]]]) -> list[list[str]]:
    """A line for every attack, those that count first; the worst variant of each."""
    every = {
        name: each["counts"]
        for seeds in columns.values()
        for row in seeds
        for name, each in row["attacks"].items()
    }
    return [
        ["attack", "counts", *columns],
        *(
            line
            for name in sorted(every, key=lambda name: not every[name])
            for line in _lines(name, every[name], columns)
        ),
    ]


def _lines(name: str, counts: bool, columns: dict[str, list[dict[str, Any]]]) -> list[list[str]]:
    """What the worst variant of an attack brought back; and of one where less than the reference is a trace as well, by
    which variant the data stand out most."""
    outcomes = {column: [row["attacks"].get(name) for row in seeds] for column, seeds in columns.items()}
    counted = "yes" if counts else "no"
    lines = [[name, counted, *map(_shares, outcomes.values())]]
    if any(_avoided(each) for seeds in outcomes.values() for each in seeds if each):
        lines.append([f"{name}, lowest", counted, *(_shares(seeds, _avoided) for seeds in outcomes.values())])
    return lines


def _avoided(outcome: dict[str, Any]) -> str | None:
    """The two-sided variant with the lowest share; None where there is none."""
    found = {
        name: variant["share"]
        for name, variant in outcome["variants"].items()
        if variant.get("two_sided") and variant["share"] is not None
    }
    return min(found, key=lambda name: found[name], default=None)


def _shares(
    outcomes: Sequence[dict[str, Any] | None],
    chosen: Callable[[dict[str, Any]], str | None] = itemgetter("worst"),
) -> str:
    """The mean over the seeds of what a variant, by default the worst, brought back, from the lowest end of the seeds'
    95 % intervals to the highest."""
    made = [outcome for outcome in outcomes if outcome]
    found = [outcome["variants"][name] for outcome in made if (name := chosen(outcome))]
    if not found:
        return "does not apply" if any(outcome["unfit"] for outcome in made) else "no resolution"
    share = statistics.mean(each["share"] for each in found)
    low, high = min(each["low"] for each in found), max(each["high"] for each in found)
    of = f", {len(found)} of {len(outcomes)} seeds" if len(found) < len(outcomes) else ""
    return f"{_percent(share)} % ({_percent(low)} to {_percent(high)}{of})"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}".replace("-0", "0").replace("-", "−")


def _courses(row: dict[str, Any]) -> list[str]:
    return [
        name
        for outcome in row["attacks"].values()
        if outcome["counts"]
        for name, variant in outcome["variants"].items()
        if variant["curves"]
    ]


def _half(seeds: Sequence[dict[str, Any]], course: str) -> str:
    """Of every seed, in their order."""
    steps = [
        variant["steps_to_half"].get("after")
        for row in seeds
        for outcome in row["attacks"].values()
        if (variant := outcome["variants"].get(course)) and variant["curves"]
    ]
    return ", ".join("none" if step is None else str(step) for step in steps)


def _seconds(rows: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Of the attacks on the unlearned model alone, and of all of them together."""
    taken: dict[str, list[float]] = {}
    for row in rows:
        for name, seconds in {
            **row["attack_seconds"],
            "together": sum(row["attack_seconds"].values()),
        }.items():
            if seconds:
                taken.setdefault(name, []).append(seconds)
    return taken


def write(output: Path, file: Path, bed: str) -> None:
    """The JSON of all that is finished of a test bed. The page beside it has its tables written anew; one that it lacks
    is put at its end."""
    rows = [row for row in gather(output) if row["bed"] == bed]
    made = tables(rows)
    file.write_text(json.dumps({"rows": rows, "tables": made}, indent=1, ensure_ascii=False) + "\n")
    page = file.with_suffix(".md")
    text = page.read_text() if page.exists() else f"# Attacks, measured\n\n{HOW_IT_WAS_MADE}\n"
    for name, cells in made.items():
        if (place := f"<!-- {file.name}: {name} -->") not in text:
            text += f"\n## {name}\n\n{place}\n\n{pages.of_cells(cells)}"
    page.write_text(pages.made_again(text, file.parent))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--models", type=Path, help="the folder that shared/models/smollm2/make.py made")
    parser.add_argument("--output", type=Path, default=Path("runs/attack-table"))
    parser.add_argument("--bed", choices=("tofu-tiny", "smollm2"), default="tofu-tiny")
    parser.add_argument("--objectives", nargs="+", default=["ihl", "npo", "gd"])
    parser.add_argument("--starts", nargs="+", default=["default", "fila", "vila", "factored", "directions"])
    parser.add_argument("--seeds", nargs="+", type=int, default=starts.SEEDS)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--retain-weight", default="1to6", help="λ; 1to6 rises")
    parser.add_argument(
        "--rates", type=Path, help='JSON, as {"ihl default": 0.004}: these are not searched for'
    )
    parser.add_argument("--set", nargs="+", default=[], help="of the recipe, such as tuning.trials=4")
    parser.add_argument("--light", action="store_true", help="fewer questions, samples and finetunings")
    parser.add_argument("--questions", type=int, default=50, help="with --light")
    parser.add_argument(
        "--only", default="0/1", help="K/N: every N-th row of a seed, beginning with the K-th"
    )
    parser.add_argument("--write", type=Path, help="the JSON file of all figures; no row is made")
    options = parser.parse_args()
    if options.write:
        write(options.output, options.write, options.bed)
        return
    shared, sizes = options.shared.resolve(), Sizes.of(options.bed, options.light, options.questions)
    given = read_json(options.rates) if options.rates else {}
    first, step = (int(part) for part in options.only.split("/"))
    pairs = [(objective, start) for objective in options.objectives for start in options.starts]
    for seed in options.seeds:
        # Of every seed the same rows, so that a rate is found before it is asked for.
        made = [
            Row(options.bed, FORGET, objective, start, options.rank, options.retain_weight, seed)
            for objective, start in pairs[first::step]
        ]
        for row in made:
            rate = given.get(f"{row.objective} {row.start}") or starts.found_rate(options.output, row)
            try:
                run_row(row, rate, options.output, shared, options.models, sizes, options.set)
            except Exception as error:  # a run that diverged is a result
                print(f"{row.name}: {error}", flush=True)
        like = next((row for row in made if (options.output / row.name / FACTS).exists()), None)
        for role in WITHOUT_RUN if like and first == 0 else ():
            if role != "second" or like.bed == "tofu-tiny":
                run_without(role, like, options.output, shared, options.models, sizes)


if __name__ == "__main__":
    main()
