"""The recipe's section `attacks`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..settings import Section

#: What a run may spend on attacks: those of seconds, on at most `CHEAP_ITEMS` questions; or all, on all of them.
Budget = Literal["cheap", "full"]
#: Forget questions that the cheap attacks ask, drawn by the seed.
CHEAP_ITEMS = 100
#: The cheap attacks ask a holdout that stands in for the reference no more than there are forget questions, or this.
LEAST_STANDING_IN = 20
#: The fact of a variant: of how many of its items leaks are told by the keywords that the data name.
BY_KEYWORDS = "by keywords"


class Attacks(Section):
    budget: Literal["cheap", "full", "none"] = Field(
        "cheap",
        description="the attacks at the end of a run: cheap, full, or none, and then nothing counts as forgotten",
    )
