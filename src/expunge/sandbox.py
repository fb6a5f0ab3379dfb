"""Templates from strangers: jinja's sandbox, in which a template also comes to an end.

The sandbox keeps a template from Python's insides, and from a `range` of more than 100,000. Loops within loops could
still take years, and so could powers and products. What a template writes is not bounded in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

#: Rounds of all loops, in one rendering of a template. It takes half a second.
MOST_ROUNDS = 1_000_000
#: Digits of a number, or items of a text or a list, that a product or a power may have.
LONGEST = 1_000_000
_ROUND = "count_a_round"


class _BoundedTemplate(jinja2.Template):
    """Each rendering begins to count anew."""

    def render(self, *args: Any, **kwargs: Any) -> str:
        self.environment.rounds = 0  # type: ignore[attr-defined]
        return super().render(*args, **kwargs)

    def generate(self, *args: Any, **kwargs: Any) -> Iterator[str]:
        self.environment.rounds = 0  # type: ignore[attr-defined]
        return super().generate(*args, **kwargs)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox whose templates raise `SecurityError` after a million rounds of their loops."""

    template_class = _BoundedTemplate
    intercepted_binops = frozenset(["*", "**"])
    rounds = 0

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.filters[_ROUND] = _count_a_round
        del self.globals["lipsum"]  # a text as long as one likes

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        for loop in list(template.find_all(nodes.For)):
            count = nodes.Filter(nodes.Const(None), _ROUND, [], [], None, None)
            loop.body.insert(0, nodes.ExprStmt(count).set_lineno(loop.lineno).set_environment(self))
        return template

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if _size(operator, left, right) > LONGEST:
            raise SecurityError(f"a result of {operator} is longer than {LONGEST:,}")
        return super().call_binop(context, operator, left, right)


@jinja2.pass_context  # so that it is not computed once for all while the template is compiled
def _count_a_round(context: Context, _: None) -> None:
    environment = context.environment
    assert isinstance(environment, BoundedEnvironment)
    environment.rounds += 1
    if environment.rounds > MOST_ROUNDS:
        raise SecurityError(f"its loops take more than {MOST_ROUNDS:,} rounds")


def _size(operator: str, left: Any, right: Any) -> float:
    """How long the result is at most: in bits of a number, in items of anything else."""
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length()
        return bits * max(right, 0) if operator == "**" else bits + right.bit_length()
    if operator == "*":
        for many, times in ((left, right), (right, left)):
            if hasattr(many, "__len__") and isinstance(times, int):
                return len(many) * max(times, 0)
    return 0
