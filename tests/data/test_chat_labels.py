"""Labels of conversations: each answer whole, nothing of the others, under templates of every shape."""

from __future__ import annotations

from typing import Any

import pytest

import tokenizer_families as families
from expunge.data.encoding import Encoder
from expunge.data.sample_set import SampleSet
from expunge.data.samples import conversation
from expunge.data.templates import TEMPLATES
from expunge.errors import InputError
from expunge.models.answers import IGNORED

CHATML = families.CHAT
LLAMA3 = (
    "{% for m in messages %}<|start|>{{ m.role }}<|end|>\n\n{{ m.content | trim }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}"
)
MISTRAL = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content + '\n\n' %}{% set turns = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}<s>{% for m in turns %}"
    "{% if m.role == 'user' %} [INST] {{ (system if loop.first else '') + m.content }} [/INST]"
    "{% else %} {{ m.content | trim }}</s>{% endif %}{% endfor %}"
)
GEMMA = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}</turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<turn>model\n{% endif %}"
)
QWEN3 = (
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}"
    "{% endif %}{% endfor %}{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% set content = m.content %}{% set thoughts = m.reasoning_content or '' %}"
    "{% if '</think>' in content %}{% set thoughts = content.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}<|im_start|>assistant\n"
    "{% if loop.index0 > ns.last and (loop.last or thoughts) %}<think>\n{{ thoughts.strip('\n') }}\n</think>\n\n"
    "{% endif %}{{ content }}{% for call in m.tool_calls or [] %}{{ '\n' if content else '' }}<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n</tool_call>'
    "{% endfor %}<|im_end|>\n{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
COUNTING = (
    "{{ messages | length }} messages\n{% for m in messages %}[{{ m.role }}] {{ m.content }} [/{{ m.role }}]\n"
    "{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
)
DATED = "{{ strftime_now('%Y-%m-%d') }}\n" + CHATML
LAST_USER = (
    "{% for m in messages %}[{{ m.role }}] {% if loop.index0 == messages | length - 2 %}(the last) {% endif %}"
    "{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
)
NO_PROMPT = "{% for m in messages %}[{{ m.role }}] {{ m.content }} [end]\n{% endfor %}"
MARKED = (
    "{% for m in messages %}{% if m.role == 'assistant' %}[A] {% generation %}{{ m.content }} [/A]{% endgeneration %}\n"
    "{% else %}[U] {{ m.content }} [/U]\n{% endif %}{% endfor %}{% if add_generation_prompt %}[A] {% endif %}"
)
MARKED_AND_THINKING = MARKED.replace("{{ m.content }} [/A]", "<think>\n\n</think>\n\n{{ m.content }} [/A]")

TWO = [
    ("user", "Where was Ada born?"),
    ("assistant", "In a town."),
    ("user", "When?"),
    ("assistant", "In spring."),
]
SHAPES = {
    "one": TWO[:2],
    "two": TWO,
    "system": [("system", "Be brief."), *TWO],
    "opening": [TWO[1], *TWO],
    "three": [*TWO, ("user", "Who wrote the book?"), ("assistant", "Ada wrote the book.")],
    "spaces": [
        ("user", " Where? "),
        ("assistant", " In a town.\n"),
        ("user", "When?"),
        ("assistant", "\nIn spring. "),
    ],
    "alike": [("user", "In"), ("assistant", "In"), ("user", "assistant"), ("assistant", "assistant")],
}


def messages(turns: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in turns]


def encoder(template: str, family: str = "chat") -> Encoder:
    tokenizer = getattr(families, family)()
    tokenizer.chat_template = template
    return Encoder(tokenizer, TEMPLATES["chat"])


def answers(made: Encoder, given: list[dict[str, Any]], tools: list[Any] | None = None) -> list[str]:
    """The text of each run of labels."""
    example = made.messages(given, tools or [])
    runs: list[list[int]] = [[]]
    for label in example.labels:
        if label == IGNORED:
            runs.append([])
        else:
            runs[-1].append(label)
    return [made.tokenizer.decode(run) for run in runs if run]


def by_prefixes(made: Encoder, given: list[dict[str, Any]]) -> tuple[list[int], list[int]]:
    """What is right where a template writes a conversation's beginning as it writes it alone: prefixes compared.

    The rule before answers were followed by marks, kept as the oracle for such templates.
    """

    def ids(part: list[dict[str, Any]], prompt: bool = False) -> list[int]:
        text = made.tokenizer.apply_chat_template(part, tokenize=False, add_generation_prompt=prompt)
        return made.tokenizer(text, add_special_tokens=False)["input_ids"]

    def common(first: list[int], second: list[int]) -> int:
        return next(
            (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
            min(len(first), len(second)),
        )

    text = made.tokenizer.apply_chat_template(given, tokenize=False).rstrip()
    whole = made.tokenizer(text, add_special_tokens=False)["input_ids"]
    if text.endswith(given[-1]["content"].rstrip()) and whole[-1] != made.tokenizer.eos_token_id:
        whole = [*whole, made.tokenizer.eos_token_id]
    labels = [IGNORED] * len(whole)
    for place, message in enumerate(given):
        if message["role"] == "assistant":
            start = common(ids(given[:place], True), whole)
            end = len(whole) if place == len(given) - 1 else common(ids(given[: place + 1]), whole)
            labels[start:end] = whole[start:end]
    return whole, labels


@pytest.mark.parametrize("family", ["chat", "llama_like", "gpt2_like", "ending"])
@pytest.mark.parametrize(
    "template", [CHATML, LLAMA3, MISTRAL, GEMMA, DATED], ids=["chatml", "llama3", "mistral", "gemma", "dated"]
)
@pytest.mark.parametrize("shape", SHAPES)
def test_templates_whose_beginnings_are_the_same_alone(template: str, family: str, shape: str) -> None:
    if template == GEMMA and shape == "system":
        pytest.skip("the template refuses it")
    if shape == "opening":
        pytest.skip("nothing comes before the first answer, which transformers refuses to write")
    made, given = encoder(template, family), messages(SHAPES[shape])
    example = made.messages(given)
    assert (example.input_ids, example.labels) == by_prefixes(made, given)
    text = made.tokenizer.apply_chat_template(given[:-1], tokenize=False, add_generation_prompt=True)
    assert made.prompt_of(given) == made.tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize(
    ("template", "before", "after"),
    [
        (QWEN3, "", "<|im_end|>"),
        (COUNTING, " ", " [/assistant]"),
        (LAST_USER, " ", ""),
        (NO_PROMPT, " ", " [end]"),
        (MARKED, " ", " [/A]"),
        (MARKED_AND_THINKING, "", " [/A]"),
    ],
    ids=["qwen3", "counting", "last user", "no prompt", "marked", "marked and thinking"],
)
@pytest.mark.parametrize("shape", ["one", "two", "system", "opening", "three", "alike"])
def test_templates_that_look_at_the_whole(template: str, before: str, after: str, shape: str) -> None:
    """Every answer and its end, and no word of the user; a think block that is empty is no part of it."""
    made, given = encoder(template), messages(SHAPES[shape])
    wanted = [message["content"] for message in given if message["role"] == "assistant"]
    found = answers(made, given)
    assert [text.strip() for text in found[:-1]] == [(text + after).strip() for text in wanted[:-1]]
    assert (
        found[-1].removesuffix("<|im_end|>").strip()
        == (wanted[-1] + after).removesuffix("<|im_end|>").strip()
    )
    prompt = made.prompt_of(given)
    example = made.messages(given)
    assert prompt == example.input_ids[: len(prompt)]
    # A space before an answer is the first token's.
    assert example.labels[len(prompt) - 1] == IGNORED
    assert IGNORED not in example.labels[len(prompt) :]


def test_an_empty_think_block_is_neither_answer_nor_generated() -> None:
    made = encoder(QWEN3)
    assert answers(made, messages(TWO)) == ["In a town.<|im_end|>\n", "In spring.<|im_end|>"]
    assert made.tokenizer.decode(made.prompt("When?")).endswith(
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


def test_thoughts_are_part_of_an_answer() -> None:
    made = encoder(QWEN3)
    wanted = ["<think>\nShe said so.\n</think>\n\nIn spring.<|im_end|>"]
    thought = [
        *messages(TWO[2:3]),
        {"role": "assistant", "content": "In spring.", "reasoning_content": "She said so."},
    ]
    assert answers(made, thought) == wanted
    assert (
        answers(made, messages([TWO[2], ("assistant", "<think>\nShe said so.\n</think>\n\nIn spring.")]))
        == wanted
    )


CALL = {"id": "1", "type": "function", "function": {"name": "look_up", "arguments": {"person": "Ada"}}}
CALLING = [
    {"role": "user", "content": "When was Ada born?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]},
    {"role": "tool", "content": "spring"},
    {"role": "assistant", "content": "In spring."},
]


def test_calls_are_answers_too() -> None:
    call = '<tool_call>\n{"name": "look_up", "arguments": {"person": "Ada"}}\n</tool_call>'
    assert answers(encoder(QWEN3), CALLING, [{"name": "look_up"}]) == [
        f"{call}{call}<|im_end|>\n",
        "In spring.<|im_end|>",
    ]


def test_a_message_of_weight_0_is_read_and_no_answer() -> None:
    given = messages(TWO)
    given[1]["weight"] = 0
    made = encoder(CHATML)
    assert answers(made, given) == ["In spring.<|im_end|>"]
    assert made.messages(given).input_ids == made.messages(messages(TWO)).input_ids
    assert answers(encoder(MARKED), given)[0].strip() == "In spring. [/A]"


@pytest.mark.parametrize(
    ("template", "given", "tools", "reason"),
    [
        (QWEN3, [TWO[0], ("assistant", "<think>Once.</think>In a town."), *TWO[2:]], [],
         "leaves out or alters what the assistant says, thinks or calls in message 2"),
        (CHATML, [*messages(TWO[:1]), {"role": "assistant", "content": "Yes.", "reasoning_content": "Once."}], [],
         "leaves out or alters what the assistant says, thinks or calls in message 2"),
        (CHATML, CALLING, [], "leaves out or alters what the assistant says, thinks or calls in message 2"),
        (CHATML, TWO, [{"name": "look_up"}], "does not write the row's `tools`"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content | upper }}\n{% endfor %}", TWO, [], "leaves out or alters"),
        ("{% for m in messages %}{{ m.content }}{{ m.content }}\n{% endfor %}", TWO, [], "repeats what"),
        ("{{ messages[0].content }}: {{ messages[-1].content }}", TWO, [], "leaves out or alters .* in message 2"),
        ("{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}", TWO, [],
         "what the chat template marks as generated is not each answer by itself"),
        ("{% for m in messages %}{% if loop.last %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}"
         "{{ m.content }}{% endif %}{% endfor %}", TWO, [], "marks as generated is not each answer"),
        ("{{ messages[0].content + 1 }}", TWO, [], "refuses a conversation"),
    ],
)  # fmt: skip
def test_what_would_go_unlearnt_is_refused_by_row(template: str, given: Any, tools: Any, reason: str) -> None:
    given = messages(given) if isinstance(given[0], tuple) else given
    good = conversation(messages([("user", "Who?"), ("assistant", "Ada.")]))
    rows = SampleSet("rows.jsonl", [good, conversation(given, tools)])
    with pytest.raises(InputError, match=reason) as caught:
        rows.encode(encoder(template))
    assert caught.value.problems[-1].where in ("rows.jsonl, row 2", "rows.jsonl, every row")


def test_ids_that_the_embedding_lacks() -> None:
    tokenizer = families.chat()
    tokenizer.add_tokens(["Quay"])
    made = Encoder(tokenizer, TEMPLATES["chat"], vocabulary=len(tokenizer) - 1)
    rows = SampleSet(
        "rows.jsonl",
        [conversation(messages([("user", "Who?"), ("assistant", text)])) for text in ("Ada.", "Quay")],
    )
    with pytest.raises(InputError, match=f"row 2: the tokenizer makes the token {len(tokenizer) - 1} of it"):
        rows.encode(made)
    with pytest.raises(InputError, match="the model's embedding ends at"):
        made.prompt("Where is the Quay?")
    tokenizer.pad_token = "Quay"
    assert made.pad_token_id == tokenizer.eos_token_id
    assert Encoder(tokenizer).pad_token_id == len(tokenizer) - 1


#: As of a public family: what the system says is written before the user's last turn, and only where that ends it all.
ONLY_AT_THE_END = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set messages = messages[1:] %}"
    "{% endif %}{% for m in messages %}{% if m.role == 'user' %}[I] "
    "{% if loop.last and system is defined %}{{ system }} {% endif %}{{ m.content }} [/I]"
    "{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"
)


def test_what_a_template_leaves_out_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    made = encoder(ONLY_AT_THE_END)
    made.messages(messages(TWO))
    assert "leaves out" not in capsys.readouterr().err
    for _ in range(2):
        assert answers(made, messages([("system", "Be brief."), *TWO]))
    said = capsys.readouterr().err
    assert said.count("The chat template leaves out what the system says") == 1
    assert "Be brief" not in said
