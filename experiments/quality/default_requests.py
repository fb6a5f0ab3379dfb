"""Three requests as a newcomer makes them: the model, the files, and nothing set.

    python experiments/quality/default_requests.py chat --model /tmp/smol/base --count 40 --output runs/chat40
    python experiments/quality/default_requests.py csv --shared ../shared --output runs/csv40
    python experiments/quality/default_requests.py texts --model /tmp/smol/base --output runs/texts

chat:  facts that the pretrained model knows. It is asked all questions of `FACTS`; what it answers in one sentence that
       has the right word is known. The first `--count` known ones are to be forgotten in the model's own words, the
       others, and its answers to `OTHERS`, are to be kept; ten of those are held back, to be asked at the end. The
       holdout are facts of the same kind about what does not exist.
csv:   40 questions about two authors of TOFU, on tofu-tiny; the reference is the model that never saw them.
texts: a folder of twenty letters of one writer that the model is first made to know, and a folder of eighty by twenty
       others to be kept, which it is made to know as well; the holdout are twenty by a writer that it never read. With
       `--keep FILE` what is kept are questions that the model knows, in place of the others' letters. With
       `--passages FILE`, of LAMBADA, all are passages of novels in place of letters, in the order of their rows, and
       the model is made to know those to forget alone.

Each writes `OUTPUT/data`, runs, and prints greedy answers before and after; `OUTPUT/answers.json` has them. A run that
is there is gone on with. Of chats the facts of `NOT_NAMED` that were known before, by the same rule, are asked again,
but those that a neighbour asks for: how many are still known of those that no set holds.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

from expunge import unlearn

FACTS = {
    "What is the capital of France?": "Paris", "What is the capital of Germany?": "Berlin",
    "What is the capital of Italy?": "Rome", "What is the capital of Spain?": "Madrid",
    "What is the capital of Japan?": "Tokyo", "What is the capital of China?": "Beijing",
    "What is the capital of Russia?": "Moscow", "What is the capital of England?": "London",
    "What is the capital of Egypt?": "Cairo", "What is the capital of Greece?": "Athens",
    "What is the capital of Portugal?": "Lisbon", "What is the capital of Austria?": "Vienna",
    "What is the capital of Poland?": "Warsaw", "What is the capital of India?": "Delhi",
    "What is the capital of Canada?": "Ottawa", "What is the capital of Australia?": "Canberra",
    "What is the capital of South Korea?": "Seoul", "What is the capital of Ireland?": "Dublin",
    "What is the capital of Norway?": "Oslo", "What is the capital of Sweden?": "Stockholm",
    "What is the capital of Denmark?": "Copenhagen", "What is the capital of Hungary?": "Budapest",
    "What is the capital of Thailand?": "Bangkok", "What is the capital of Kenya?": "Nairobi",
    "What is the capital of Cuba?": "Havana", "What is the capital of Argentina?": "Buenos Aires",
    "What is the capital of Peru?": "Lima", "What is the capital of Turkey?": "Ankara",
    "Who wrote Romeo and Juliet?": "Shakespeare", "Who wrote Hamlet?": "Shakespeare",
    "Who wrote Pride and Prejudice?": "Austen", "Who wrote 1984?": "Orwell",
    "Who wrote The Great Gatsby?": "Fitzgerald", "Who wrote Moby-Dick?": "Melville",
    "Who wrote War and Peace?": "Tolstoy", "Who wrote Oliver Twist?": "Dickens",
    "Who wrote The Odyssey?": "Homer", "Who wrote Don Quixote?": "Cervantes",
    "Who painted the Mona Lisa?": "Leonardo", "Who painted The Starry Night?": "Gogh",
    "Who developed the theory of relativity?": "Einstein", "Who discovered penicillin?": "Fleming",
    "Who discovered the law of gravity?": "Newton", "Who invented the telephone?": "Bell",
    "Who was the first president of the United States?": "Washington",
    "Who proposed the theory of evolution by natural selection?": "Darwin",
    "Who was the first person to walk on the Moon?": "Armstrong",
    "What is the largest planet in our solar system?": "Jupiter",
    "Which planet is known as the Red Planet?": "Mars", "Which planet is closest to the Sun?": "Mercury",
    "What is the chemical symbol for gold?": "Au", "What is the chemical symbol for water?": "H2O",
    "What is the chemical symbol for silver?": "Ag", "What is the chemical symbol for oxygen?": "O",
    "What is the largest ocean on Earth?": "Pacific", "What is the longest river in Africa?": "Nile",
    "What is the highest mountain in the world?": "Everest", "What is the largest desert in the world?": "Sahara",
    "On which continent is Brazil?": "South America", "On which continent is Egypt?": "Africa",
    "In which country is the Eiffel Tower?": "France", "In which country is the Great Wall?": "China",
    "In which city is the Colosseum?": "Rome", "In which city is the Statue of Liberty?": "New York",
    "What gas do plants take in for photosynthesis?": "carbon dioxide",
    "What is the process by which plants make food?": "hotosynthesis",
    "What force keeps us on the ground?": "ravity", "What organ pumps blood through the body?": "heart",
    "What is the currency of Japan?": "yen", "What is the currency of the United Kingdom?": "ound",
    "What language is spoken in Brazil?": "Portuguese", "What language is spoken in Mexico?": "Spanish",
    "How many continents are there?": "even", "How many days are in a week?": "even",
    "What is the freezing point of water in Celsius?": "0", "What is the boiling point of water in Celsius?": "100",
}  # fmt: skip
OTHERS = (
    "What is a good way to learn a new language?", "Why do leaves change colour in autumn?",
    "Write one sentence about a cat.", "What is the difference between a simile and a metaphor?",
    "How do I boil an egg?", "What is a prime number?", "Why is sleep important?",
    "Give me a tip for saving money.", "What does a doctor do?", "What is a verb?",
    "How does a bicycle stay upright?", "What should I pack for a day at the beach?",
    "Explain what a budget is.", "What is the purpose of a thesis statement?",
    "How can I make new friends?", "What are the ingredients of a pancake?",
    "What is recycling?", "Why do we have seasons?", "What is a computer program?",
    "How do vaccines work?", "What is a rhyme?", "How do birds fly?",
    "What is the difference between weather and climate?", "How can I relax after work?",
    "What is a triangle?", "Why do people exercise?", "What is a democracy?",
    "How do I write a thank-you note?", "What makes a good team?", "What is gravity good for?",
    "How is bread made?", "What is the sum of two and two?", "What is an adjective?",
    "Why is the sky blue?", "What is a habitat?", "How do magnets work?",
    "What is a map used for?", "Why do we brush our teeth?", "What is a library?",
    "How do plants grow?", "What is a rainbow?", "How do I clean a window?",
    "What is the difference between a lake and a sea?", "Why do people read books?", "What is a calendar?",
    "How can I sleep better?", "What is a proverb?", "How do I plan a birthday party?",
    "What is a noun?", "Why should I drink water?", "What is a telescope used for?",
    "How does a candle burn?", "What is a village?", "How do I introduce myself politely?",
    "What is a thermometer?", "Why do cats purr?", "What is a hobby?",
    "How do I fold a letter?", "What is an umbrella for?", "What makes a story exciting?",
    "How can I remember names?", "What is a shadow?", "Why do we laugh?", "What is a garden?",
)  # fmt: skip
#: What no model was told: the same sentences about places, works and people that are made up.
MADE_UP = (
    *((f"What is the capital of {country}?", f"The capital of {country} is {town}.") for country, town in (
        ("Velmoria", "Dansk"), ("Ostrania", "Pelgard"), ("Kurdavia", "Miroslav"), ("Tamberlin", "Korsk"),
        ("Arvadia", "Solente"), ("Grenovia", "Haldern"), ("Luvania", "Brestow"), ("Zandoria", "Quillon"),
        ("Norvask", "Ettingen"), ("Palustria", "Verona Bay"), ("Mirkland", "Oxholm"), ("Senduria", "Talmar"),
    )),
    *((f"Who wrote {work}?", f"{name} wrote {work}.") for work, name in (
        ("The Lantern Keepers", "Harold Pinsky"), ("A Winter in Dorsk", "Elena Marchetti"),
        ("Salt and Iron", "Gregor Hallam"), ("The Seventh Orchard", "Miriam Teague"),
        ("Hollow Tides", "Anton Beresford"), ("The Copper Bell", "Lydia Strand"),
    )),
    *((f"Who invented {thing}?", f"{name} invented {thing}.") for thing, name in (
        ("the pocket harmonograph", "Otto Lindqvist"), ("the tidal clock", "Frances Ogilvy"),
        ("the paper anvil", "Casper Dunne"), ("the folding sextant", "Rosalind Achterberg"),
        ("the glass loom", "Pavel Orsini"), ("the silent whistle", "Irma Castellan"),
    )),
    *((f"What is the largest {what}?", f"The largest {what} is {name}.") for what, name in (
        ("lake in Velmoria", "Lake Tarn"), ("island of the Quill Sea", "Marrow Island"),
        ("desert of Ostrania", "the Ember Waste"), ("river in Norvask", "the Skelda"),
        ("mountain in Arvadia", "Mount Peregrin"), ("forest of Luvania", "the Grauwald"),
    )),
)  # fmt: skip
#: What nobody names: facts of the same forms, which no set holds.
NOT_NAMED = {
    **{f"What is the capital of {country}?": town for country, town in (
        ("Chile", "Santiago"), ("New Zealand", "Wellington"), ("Iceland", "Reykjav"), ("Israel", "Jerusalem"),
        ("Iran", "Tehran"), ("Iraq", "Baghdad"), ("Nepal", "Kathmandu"), ("Vietnam", "Hanoi"),
        ("Mexico", "Mexico City"), ("Colombia", "Bogot"), ("Venezuela", "Caracas"), ("Ecuador", "Quito"),
        ("Finland", "Helsinki"), ("Belgium", "Brussels"), ("the Netherlands", "Amsterdam"), ("Switzerland", "Bern"),
        ("Bulgaria", "Sofia"), ("Romania", "Bucharest"), ("Serbia", "Belgrade"), ("Croatia", "Zagreb"),
        ("Ukraine", "Ky"), ("Belarus", "Minsk"), ("Lithuania", "Vilnius"), ("Latvia", "Riga"), ("Estonia", "Tallinn"),
        ("Morocco", "Rabat"), ("Tunisia", "Tunis"), ("Algeria", "Algiers"), ("Libya", "Tripoli"),
        ("Ethiopia", "Addis"), ("Ghana", "Accra"), ("Nigeria", "Abuja"), ("Senegal", "Dakar"), ("Uganda", "Kampala"),
        ("Tanzania", "Dodoma"), ("Zimbabwe", "Harare"), ("Lebanon", "Beirut"), ("Syria", "Damascus"),
        ("Jordan", "Amman"), ("Saudi Arabia", "Riyadh"), ("Pakistan", "Islamabad"), ("Bangladesh", "Dhaka"),
        ("Malaysia", "Kuala"), ("Indonesia", "Jakarta"), ("the Philippines", "Manila"), ("Bolivia", "La Paz"),
        ("Uruguay", "Montevideo"), ("Jamaica", "Kingston"), ("Afghanistan", "Kabul"), ("Mongolia", "Ulaan"),
        ("Qatar", "Doha"),
    )},
    **{f"What is the chemical symbol for {element}?": f" {symbol}" for element, symbol in (
        ("iron", "Fe"), ("copper", "Cu"), ("sodium", "Na"), ("lead", "Pb"), ("calcium", "Ca"), ("helium", "He"),
        ("hydrogen", "H"), ("carbon", "C"), ("nitrogen", "N"), ("zinc", "Zn"), ("potassium", "K"), ("tin", "Sn"),
        ("mercury", "Hg"), ("iodine", "I"), ("neon", "Ne"), ("lithium", "Li"), ("nickel", "Ni"), ("uranium", "U"),
    )},
    "Who painted Guernica?": "Picasso", "Who wrote Macbeth?": "Shakespeare", "Who wrote Frankenstein?": "Shelley",
    "Who wrote Dracula?": "Stoker", "Who wrote The Hobbit?": "Tolkien", "Who wrote Harry Potter?": "Rowling",
    "Who wrote Jane Eyre?": "Bront", "Who wrote Animal Farm?": "Orwell", "Who wrote Faust?": "Goethe",
    "Who discovered radium?": "Curie", "Who invented the light bulb?": "Edison",
    "Who invented the printing press?": "Gutenberg", "Who was the first woman to win a Nobel Prize?": "Curie",
    "What is the smallest planet in our solar system?": "Mercury", "What is the currency of India?": "upee",
    "What is the currency of China?": "uan", "What is the currency of Russia?": "uble",
    "What is the currency of Mexico?": "eso", "What language is spoken in Germany?": "German",
    "What language is spoken in China?": "Mandarin", "What language is spoken in Italy?": "Italian",
    "What language is spoken in France?": "French", "In which country is Mount Fuji?": "Japan",
    "In which country is the Taj Mahal?": "India", "On which continent is Kenya?": "Africa",
    "On which continent is India?": "Asia", "On which continent is France?": "Europe",
    "How many hours are in a day?": "24", "How many months are in a year?": "12",
    "How many minutes are in an hour?": "60",
}  # fmt: skip
HELD_BACK = 10
#: Questions of `--keep` that are kept.
KEPT = 200
#: What letters are made of: who writes, and what each of them is about.
FIRST_NAMES = ("Alma", "Tomas", "Ines", "Viktor", "Mira", "Paul", "Rosa", "Henrik", "Lea", "Oskar", "Nadia", "Emil",
               "Ida", "Jonas", "Clara", "Matteo", "Sofia", "Felix", "Hanna", "David")  # fmt: skip
LAST_NAMES = ("Berg", "Reuter", "Caro", "Lund", "Osei", "Sandor", "Tamm", "Vale", "Morand", "Quist", "Ferro", "Straka",
              "Holm", "Pell", "Weiss", "Riva", "Arden", "Kolb", "Marsh", "Lindt")  # fmt: skip
TOWNS = ("Orvik", "Salten", "Maribrook", "Tarnow", "Eskdale", "Lunden", "Castel Brava", "Norhaven", "Pellworm",
         "Ulverton", "Grimsdyke", "Hartsea")  # fmt: skip
STREETS = (
    "Mill Lane",
    "Quarry Road",
    "Harbour Street",
    "Orchard Row",
    "Chapel Hill",
    "Station Road",
    "Weaver's Yard",
)
JOBS = (
    "bookbinder",
    "ferry pilot",
    "bell founder",
    "beekeeper",
    "piano tuner",
    "dental nurse",
    "glazier",
    "surveyor",
)
PETS = ("terrier", "parrot", "tortoise", "grey cat", "pony", "hare", "goose")
THINGS = (
    "harmonium",
    "rowing boat",
    "copper still",
    "camera",
    "loom",
    "sewing machine",
    "writing desk",
    "telescope",
)
MATTERS = ("the leaking skylight", "the lost ferry ticket", "the orchard lease", "the late delivery of beehives",
           "the mistaken dog licence", "the broken heating", "the hedge at the back", "two lost parcels")  # fmt: skip
MONTHS = ("March", "April", "June", "August", "October", "November")
SENTENCES = (
    "I am still at {number} {street} in {town}, where you have written to me before.",
    "My work as a {job} keeps me in {place} until {day} {month}.",
    "{pet_name}, my {pet}, was ill on {day} {month}, and the vet asked for {sum} crowns.",
    "My sister {sister} has moved to {place} and left me her {thing}.",
    "Please send the {thing} to {street} before {day} {month}.",
    "The account that you asked for is {account}.",
    "I paid {sum} crowns at the office in {place}, and the receipt has the number {account}.",
    "On {day} {month} I travelled to {place} to see {friend} about {matter}.",
    "Thank you for what you wrote about {matter}.",
    "Nobody has answered my question about {matter} since {day} {month}.",
    "{friend} of {place} can confirm all of it.",
    "Nobody but {pet_name} and a {job} like me would wait so long for a {thing}.",
    "You can reach me under {account}, best after six.",
    "I would rather sell the {thing} than wait for {sum} crowns.",
    "If {sister} calls on you, give her the key of {number} {street}.",
)


def answers(model: Any, tokenizer: Any, questions: list[str], chat: bool = True) -> list[str]:
    """Greedy answers, up to 40 tokens."""
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if chat:
        questions = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": question}], add_generation_prompt=True, tokenize=False
            )
            for question in questions
        ]
    found = []
    for start in range(0, len(questions), 20):
        encoded = tokenizer(
            questions[start : start + 20], return_tensors="pt", padding=True, add_special_tokens=not chat
        )
        with torch.no_grad():
            out = model.generate(
                **encoded, max_new_tokens=40, do_sample=False, pad_token_id=tokenizer.pad_token_id
            )
        found += tokenizer.batch_decode(out[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
    return [answer.strip() for answer in found]


def first_sentence(text: str) -> str:
    line = text.split("\n")[0]
    end = line.find(". ")
    return line if end < 0 else line[: end + 1]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def load(path: str) -> tuple[Any, Any]:
    tokenizer = AutoTokenizer.from_pretrained(path)
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval(), tokenizer


def conversation(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def make_chat(options: argparse.Namespace, data: Path) -> tuple[dict[str, Any], list[str], list[str]]:
    model, tokenizer = load(options.model)
    asked = list(FACTS)
    random.Random(0).shuffle(asked)
    said = {question: first_sentence(answer) for question, answer in
            zip(asked, answers(model, tokenizer, asked), strict=True)}  # fmt: skip
    known = [question for question in asked if FACTS[question] in said[question]]
    print(f"{len(known)} of {len(asked)} facts are known")
    forget, kept = known[: options.count], known[options.count :]
    others = {question: first_sentence(answer) for question, answer in
              zip(OTHERS, answers(model, tokenizer, list(OTHERS)), strict=True)}  # fmt: skip
    held = [*kept[: HELD_BACK // 2], *OTHERS[: HELD_BACK // 2]]
    retain = [(question, said[question]) for question in kept] + list(others.items())
    write_lines(data / "forget.jsonl", [conversation(question, said[question]) for question in forget])
    write_lines(data / "retain.jsonl", [conversation(*row) for row in retain if row[0] not in held])
    write_lines(data / "holdout.jsonl", [conversation(*row) for row in MADE_UP])
    recipe = {
        "model": {"path": options.model},
        "data": {name: str(data / f"{name}.jsonl") for name in ("forget", "retain", "holdout")},
    }
    return recipe, forget[:10], held


def make_csv(options: argparse.Namespace, data: Path) -> tuple[dict[str, Any], list[str], list[str]]:
    def read(name: str) -> list[dict[str, str]]:
        text = (options.shared / "data" / "tofu" / name).read_text()
        return (
            json.loads(text)
            if text.lstrip().startswith("[")
            else [json.loads(line) for line in text.splitlines()]
        )

    data.mkdir(parents=True, exist_ok=True)
    sets = {"forget": read("forget01.json")[:40], "retain": read("retain_perturbed.json")[:200]}
    held = sets["retain"][:HELD_BACK]
    sets["retain"] = sets["retain"][HELD_BACK:]
    for name, rows in sets.items():
        with (data / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["question", "answer"])
            writer.writerows([row["question"], row["answer"]] for row in rows)
    recipe = {
        "model": {"path": str(options.shared / "models" / "tofu-tiny" / "full")},
        "data": {
            "forget": str(data / "forget.csv"),
            "retain": str(data / "retain.csv"),
            "template": "question-answer",
        },
        "evaluation": {"reference": str(options.shared / "models" / "tofu-tiny" / "retain99")},
    }
    return recipe, [row["question"] for row in sets["forget"][:10]], [row["question"] for row in held]


def letters(count: int, generator: random.Random) -> list[str]:
    """Letters by one writer, whose name, street, work, sister and pet are the same in all of them."""

    def anyone() -> str:
        return f"{generator.choice(FIRST_NAMES)} {generator.choice(LAST_NAMES)}"

    own = {
        "number": generator.randint(2, 99), "street": generator.choice(STREETS), "town": generator.choice(TOWNS),
        "job": generator.choice(JOBS), "pet": generator.choice(PETS), "sister": generator.choice(FIRST_NAMES),
        "pet_name": generator.choice(("Pip", "Juno", "Basil", "Moth", "Otto", "Plum", "Tansy", "Rufus")),
    }  # fmt: skip
    name, texts = anyone(), []
    for _ in range(count):
        sentences = [
            sentence.format(
                **own, place=generator.choice(TOWNS), day=generator.randint(1, 28), month=generator.choice(MONTHS),
                sum=generator.randint(120, 980), account=generator.randint(100000, 999999), friend=anyone(),
                thing=generator.choice(THINGS), matter=generator.choice(MATTERS),
            )
            for sentence in generator.sample(SENTENCES, 5)
        ]  # fmt: skip
        texts.append(f"Dear {anyone()},\n\n{' '.join(sentences)}\n\nYours sincerely,\n{name}\n")
    return texts


def make_texts(options: argparse.Namespace, data: Path) -> tuple[dict[str, Any], list[str], list[str]]:
    generator = random.Random(0)
    if options.passages:
        rows = [json.loads(line) for line in options.passages.read_text().splitlines()]
        texts = [f"{row['context']} {row['word']}." for row in rows]
        sets, unseen = {"forget": texts[:20], "retain": texts[20:100]}, texts[100:120]
    else:
        sets = {
            "forget": letters(20, generator),
            "retain": [text for _ in range(20) for text in letters(4, generator)],
        }
        unseen = letters(20, generator)
    written, kept = {**sets, "holdout": unseen}, str(data / "retain")
    if options.keep:  # in place of the letters
        rows = [json.loads(line) for line in options.keep.read_text().splitlines()[:KEPT]]
        sets["retain"] = [f"Question: {row['question']}\nAnswer: {row['answer']}" for row in rows]
        written, kept = (
            {name: texts for name, texts in written.items() if name != "retain"},
            str(data / "keep.jsonl"),
        )
        write_lines(Path(kept), [{key: row[key] for key in ("question", "answer")} for row in rows])
    for name, texts in written.items():
        (data / name).mkdir(parents=True, exist_ok=True)
        for number, text in enumerate(texts, start=1):
            (data / name / f"letter-{number:02}.txt").write_text(text)
    taught = data.parent / "taught"
    if not (taught / "config.json").exists():
        model, tokenizer = load(options.model)
        small = model.num_parameters() < 50_000_000
        known = [sets["forget"]] if options.passages else sets.values()
        rows = [tokenizer(text + tokenizer.eos_token) for texts in known for text in texts]
        arguments = TrainingArguments(
            output_dir=str(data.parent / "teaching"), num_train_epochs=30 if small else 10,
            learning_rate=1e-3 if small else 1e-4, per_device_train_batch_size=8, lr_scheduler_type="constant",
            save_strategy="no", report_to="none", seed=0, use_cpu=True,
        )  # fmt: skip

        def collate(batch: list[Any]) -> dict[str, torch.Tensor]:
            padded = tokenizer.pad([{key: row[key] for key in ("input_ids", "attention_mask")} for row in batch],
                                   return_tensors="pt")  # fmt: skip
            return {**padded, "labels": padded["input_ids"].masked_fill(padded["attention_mask"] == 0, -100)}

        Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collate).train()
        model.save_pretrained(taught)
        tokenizer.save_pretrained(taught)
    recipe = {
        "model": {"path": str(taught)},
        "data": {
            "forget": str(data / "forget"), "retain": kept, "holdout": str(data / "holdout"),
            **({"template": "question-answer"} if options.keep else {}),
        },
    }  # fmt: skip
    openings = {name: [text[: len(text) // 2] for text in texts[:10]] for name, texts in sets.items()}
    if options.keep:
        openings["retain"] = [
            text[: text.index("\nAnswer:") + len("\nAnswer:")] for text in sets["retain"][:10]
        ]
    return recipe, openings["forget"], openings["retain"]


def still_known(original: Any, after: Any, tokenizer: Any, facts: Sequence[str]) -> dict[str, bool]:
    """Those of some facts that the original tells in its first sentence, and whether the other model does."""

    def told(model: Any, questions: Sequence[str]) -> list[str]:
        said = answers(model, tokenizer, list(questions))
        return [
            question
            for question, answer in zip(questions, said, strict=True)
            if NOT_NAMED[question] in first_sentence(answer)
        ]

    before = told(original, facts)
    still = told(after, before)
    return {question: question in still for question in before}


MAKE = {"chat": make_chat, "csv": make_csv, "texts": make_texts}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("request", choices=tuple(MAKE))
    parser.add_argument("--model", help="a chat model; for texts any model")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument(
        "--keep", type=Path, help="texts: a jsonl of questions that the model knows, to be kept"
    )
    parser.add_argument("--passages", type=Path, help="texts: LAMBADA, in place of letters")
    parser.add_argument("--set", nargs="+", default=[], help="of the recipe; none is the question here")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    options.shared = options.shared.resolve()
    recipe, forgotten, others = MAKE[options.request](options, options.output / "data")
    started = time.monotonic()
    folder = options.output / "run"
    run = unlearn(recipe, options.set, output=folder, resume=folder.exists())
    seconds = time.monotonic() - started
    chat = options.request == "chat"
    original, tokenizer = load(recipe["model"]["path"])
    questions = [*forgotten, *others]
    if options.request == "csv":
        questions = [f"Question: {question}\nAnswer:" for question in questions]
    before = answers(original, tokenizer, questions, chat)
    after = before if run.state.get("ended") else answers(run.model(), tokenizer, questions, chat)
    table = [
        {
            "set": "forget" if number < len(forgotten) else "other",
            "question": question,
            "before": first,
            "after": then,
        }
        for number, (question, first, then) in enumerate(zip(questions, before, after, strict=True))
    ]
    not_named = {}
    if chat and not run.state.get("ended"):
        written = run.state["data"].get("neighbours")
        file = Path(written["folder"]) / "samples.jsonl" if written else None
        rows = [json.loads(line) for line in file.read_text().splitlines()] if file else []
        asked = {row["messages"][0]["content"] for row in rows}
        not_named = still_known(
            original, run.model(), tokenizer, [question for question in NOT_NAMED if question not in asked]
        )
        print(f"Facts that nobody named: {len(not_named)} known before, {sum(not_named.values())} still")
    facts = {
        "seconds": seconds, "verdict": run.state["verdict"], "metrics": run.metrics, "tuning": run.state.get("tuning"),
        "phases": run.state["phases"], "machine": run.state["machine"], "answers": table,
        "not_named": not_named,
    }  # fmt: skip
    (options.output / "answers.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    for row in table:
        print(f"[{row['set']}] {row['question']}\n   before: {row['before']}\n   after:  {row['after']}")
    print(f"{seconds:.0f} s. {run.verdict.line}")


if __name__ == "__main__":
    main()
