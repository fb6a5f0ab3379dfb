"""Templates from strangers come to an end, with a sentence; what honest ones write stays the same."""

from __future__ import annotations

import pytest
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

import tokenizer_families
from expunge.data.conversation import ChatWriter
from expunge.errors import InputError
from expunge.sandbox import MOST_ROUNDS, BoundedEnvironment

#: Ten thousand million rounds.
NESTED = "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"
IN_A_MACRO = (
    "{% macro m() %}{% for j in range(100000) %}{% endfor %}{% endmacro %}"
    "{% for i in range(100000) %}{{ m() }}{% endfor %}"
)
IN_A_BLOCK = (
    "{% for i in range(100000) %}{% block b scoped %}{% for j in range(100000) %}{% endfor %}{% endblock %}"
    "{% endfor %}"
)
RECURSIVE = "{% for i in range(99999) recursive %}{% if loop.depth < 2 %}{{ loop(range(9999)) }}{% endif %}{% endfor %}"


FOREVER = [
    NESTED, IN_A_MACRO, IN_A_BLOCK, RECURSIVE, "{{ 'a' * 10 ** 10 }}", "{{ [0] * 10 ** 9 }}",
    "{{ 9 ** 9 ** 9 ** 9 ** 9 ** 9 ** 9 ** 9 }}", "{{ (2 ** 1000) ** 100000 }}",
]  # fmt: skip
OUT = ["{{ ''.__class__.__mro__ }}", "{% set _ = rows.append(1) %}"]


@pytest.mark.parametrize("template", [*FOREVER, *OUT])
def test_what_would_not_end_or_get_out_is_refused(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("expunge.sandbox.MOST_ROUNDS", 20_000)
    with pytest.raises(SecurityError):
        BoundedEnvironment().from_string(template).render(rows=[])


def test_rounds_are_those_of_one_rendering() -> None:
    template = BoundedEnvironment().from_string(
        "{% for i in range(n) %}{% for j in range(1000) %}x{% endfor %}{% endfor %}"
    )
    for _ in range(2):
        # Each outer round counts as well.
        assert len(template.render(n=MOST_ROUNDS // 1001)) == MOST_ROUNDS // 1001 * 1000
    with pytest.raises(SecurityError, match="its loops take more than 1,000,000 rounds"):
        template.render(n=1000)


@pytest.mark.parametrize(
    "template",
    [
        "{% for row in rows if row.a %}{{ loop.index }}/{{ loop.length }}{{ row.a * 3 }}{% else %}none{% endfor %}",
        "{% for row in rows recursive %}{{ row.a }}{{ loop(row.inner) if row.inner }}{% endfor %}",
        "{% for row in [] %}{% else %}none{% endfor %}",
        "{{ 2 ** 10 }} {{ 'ab' * 2 }} {{ 3 * [1] }} {{ 1.5 * 2 }} {{ 2 ** -1 }} {{ 0 * 5 }} {{ -2 * 'a' }}",
        "{% for a, b in pairs %}{% set c = a %}{{ c }}{{ b }}{{ loop.last }}{% endfor %}",
    ],
)  # fmt: skip
def test_honest_templates_write_what_they_do_in_jinja(template: str) -> None:
    facts = {"rows": [{"a": "x", "inner": [{"a": "y"}]}, {"a": ""}], "pairs": [(1, 2), (3, 4)]}
    theirs = ImmutableSandboxedEnvironment().from_string(template).render(facts)
    assert BoundedEnvironment().from_string(template).render(facts) == theirs


def test_a_chat_template_that_would_not_end_is_a_sentence() -> None:
    tokenizer = tokenizer_families.gpt2_like()
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}" + NESTED
    messages = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ada."}]
    with pytest.raises(
        InputError, match=r"refuses a conversation: its loops take more than 1,000,000 rounds\."
    ):
        ChatWriter(tokenizer).conversation(messages)
