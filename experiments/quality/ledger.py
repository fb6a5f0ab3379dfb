"""Ten deletion requests in a ledger on the laptop test bed: does the utility drift, does what is forgotten stay so?

    python experiments/quality/ledger.py --shared ../shared --output runs/ledger
    python experiments/quality/ledger.py --shared ../shared --output runs/ledger-look --requests 2
    python experiments/quality/ledger.py --output runs/ledger --write docs/results/ledger.md
    python experiments/quality/ledger.py --output runs/ledger-anew --anew --defaults --rate 0.004
    python experiments/quality/ledger.py --output runs/ledger-anew --anew --defaults --rate 0.004 \\
        --write docs/results/ledger.md

Each request is five authors of TOFU (100 questions), the authors 150 to 199 in turn. `expunge.ledger.add` runs it on
the model that the last one left, by the settings of docs/results/continual.md. After the last one request 3 is rolled
back. With `--anew` every request names the authors of those before as well, is run on the original in their place,
and none is rolled back; `--defaults` leaves all settings but the rate open. The references saw the authors 150 to 179,
so no figure against a reference is given: the forget sets are held against what retain90 makes of the authors that it
never saw. One that was interrupted is gone on with.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from continual import MODELS, encoder_of, make_data
from pages import take

from expunge.adapters.loading import load_model
from expunge.benchmarks.tofu.benchmark import TofuBenchmark
from expunge.evaluation.set_metrics import answer_metrics
from expunge.evidence.keys import make_key
from expunge.folder.ledger import LedgerFolder
from expunge.ledger.add import add
from expunge.ledger.entry import sign_entry
from expunge.ledger.rollback import rollback
from expunge.ledger.verify import verify_ledger
from expunge.models.settings import Model
from expunge.storage import read_json, write_json

AUTHORS, FIRST = 5, 150
ROLLED_BACK = 3
BEGIN, END = "<!-- tables -->\n", "<!-- end of tables -->\n"
BEGIN_ANEW, END_ANEW = "<!-- anew -->\n", "<!-- end of anew -->\n"
#: The page, until somebody has written more words around its table.
PAGE = """# Ten deletion requests in a ledger, on the laptop test bed

Each request is five authors of TOFU (100 questions), the authors 150 to 199 in turn. `expunge ledger add` runs it on
the model that the last one left ([a ledger](../ledger.md)), with the settings of
[requests in sequence](continual.md); then request 3 is rolled back. The references saw the authors 150 to 179, so the
forget sets are held against what retain90 makes of authors that it never saw. A cell is the probability of the set's
answers.

    python experiments/quality/ledger.py --shared ../shared --output runs/ledger
    python experiments/quality/ledger.py --output runs/ledger --write docs/results/ledger.md

"""


def recipe(options: argparse.Namespace, number: int) -> dict[str, Any]:
    made = {
        "model": {"path": str(options.shared / MODELS / "full")},
        "data": {
            "format": "tofu",
            "path": str(options.output / "data"),
            "forget": f"{'upto' if options.anew else 'request'}{number}",
            "retain": "kept",
        },
        "adapter": {"initialization": "default", "rank": 8, "alpha": 16},
        "objective": {"forget": "ihl", "retain": "nll", "retain_weight": options.weight},
        "training": {
            "epochs": 10, "learning_rate": options.rate, "batch_size": 16, "warmup": "1 epoch",
            "micro_batch_size": 16,
        },
        "evaluation": {"every": 5, "generate": "never", "samples": 100},
        "attacks": {"budget": "none"},
    }  # fmt: skip
    if options.defaults:
        del made["adapter"], made["objective"]
        made["training"] = {"learning_rate": options.rate}
    return made


def show(options: argparse.Namespace) -> None:
    starts = range(FIRST, FIRST + AUTHORS * 10, AUTHORS)
    tofu, data = options.shared / "data" / "tofu", options.output / "data"
    make_data(tofu, data, [range(start, start + AUTHORS) for start in starts])
    make_data(tofu, data, [range(FIRST, start + AUTHORS) for start in starts], "upto")
    key = options.output / "key"
    if not key.exists():
        make_key(key)
    ledger, seconds_file = LedgerFolder(options.output / "ledger"), options.output / "seconds.json"
    seconds = read_json(seconds_file) if seconds_file.exists() else {}
    for number in range(1, options.requests + 1):
        begun = time.perf_counter()
        if ledger.count:
            sign_entry(ledger, ledger.count, key, None)  # where a kill came between the two
        if ledger.count < number:
            add(ledger.path, recipe(options, number), key=key, anew=options.anew and number > 1, resume=True)
            seconds[str(number)] = time.perf_counter() - begun
            write_json(seconds_file, seconds)
    if not options.anew and options.requests >= ROLLED_BACK and ledger.count == options.requests:
        rollback(ledger.path, str(ROLLED_BACK), key=key)
    sign_entry(ledger, ledger.count, key, None)
    unseen = options.output / "unseen.json"
    if not unseen.exists():
        write_json(unseen, {"probability": never_seen(options.shared)})


def never_seen(shared: Path) -> float:
    """The probability that retain90 gives to the answers of forget10, which it never saw."""
    where = Model(path=str(shared / MODELS / "retain90"))
    benchmark = TofuBenchmark(shared / "data" / "tofu", "forget10").forget_part()
    log = benchmark.measure(load_model(where), encoder_of(where))
    return answer_metrics("forget", log.sets["forget"])["forget_probability"].value


def tables(options: argparse.Namespace) -> list[str]:
    """A row an entry: the utility, and the probability of every forget set's answers after it."""
    ledger = LedgerFolder(options.output / "ledger")
    entries = ledger.entries
    requests = [entry for entry in entries if entry.facts is not None]
    called = "up to" if options.anew else "set"
    rows = [
        "| after | utility, share of the original | "
        + " | ".join(f"{called} {each.number}" for each in requests) + " |",
        "| --- | --- |" + " --- |" * len(requests),
    ]  # fmt: skip
    before = [each.facts.figures["forget_probability"].before for each in requests if each.facts]
    rows.append(
        "| (as each request found it) | | "
        + " | ".join(f"{each.value:.3f}" for each in before if each)
        + " |"
    )
    for entry in entries:
        name = f"request {entry.number}" if entry.facts else f"request {entry.rolled_back} rolled back"
        share = f"{entry.utility.after / entry.utility.original:.1%}" if entry.utility else ""
        sets = [entry.forget_sets.get(each.number, {}).get("forget_probability") for each in requests]
        rows.append(
            f"| {name} | {share} | " + " | ".join(f"{one.value:.3f}" if one else "" for one in sets) + " |"
        )
    begun = time.perf_counter()
    checks = verify_ledger(ledger.path, options.output / "key.pub")
    took = time.perf_counter() - begun
    machine = ledger.run(1).state.machine
    seconds = read_json(options.output / "seconds.json").values()
    failed = sum(check.holds is False for check in checks)
    unseen = read_json(options.output / "unseen.json")["probability"]
    return [
        f"N = 100 questions {'more with every' if options.anew else 'a'} request, learning rate {options.rate:g}, "
        f"{'else the defaults' if options.defaults else f'λ = {options.weight:g}'}. {machine['processor']}, "
        f"{machine['cores']} cores, {machine['threads']} thread; {sum(seconds) / len(seconds):.0f} s a request "
        f"beside other jobs. retain90 gives the answers of forget10, which it never saw, the probability {unseen:.3f}.",
        "",
        *rows,
        "",
        f"`expunge ledger verify --key` made {len(checks)} checks of {len(entries)} entries in {took:.1f} s; {failed} "
        "failed.",
    ]  # fmt: skip


def write(options: argparse.Namespace) -> None:
    """Put the tables between the page's markers, and their cells into the JSON beside it."""
    page = options.write
    begin, end = (BEGIN_ANEW, END_ANEW) if options.anew else (BEGIN, END)
    before, _, rest = (page.read_text(encoding="utf-8") if page.exists() else PAGE).partition(begin)
    text = before + begin + "\n".join(tables(options)) + "\n" + end + rest.partition(end)[2]
    page.write_text(text, encoding="utf-8")
    take(page)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--output", type=Path, default=Path("runs/ledger"))
    parser.add_argument("--requests", type=int, choices=range(1, 11), default=10, metavar="1…10")
    parser.add_argument("--rate", type=float, default=5e-3)
    parser.add_argument("--weight", type=float, default=2.0, help="of the retain loss")
    parser.add_argument("--anew", action="store_true", help="every request in the place of those before")
    parser.add_argument("--defaults", action="store_true", help="no settings but the rate")
    parser.add_argument(
        "--write", type=Path, help="the page whose tables are made anew, and its JSON; runs nothing"
    )
    options = parser.parse_args()
    options.shared, options.output = options.shared.resolve(), options.output.resolve()
    if options.write:
        write(options)
    else:
        show(options)
        print("\n".join(tables(options)))


if __name__ == "__main__":
    main()
