"""The attacks by name. Packages add to them by entry points: `expunge.attacks`.

Their modules load torch, so they are imported when an attack is looked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..registry import Registry

if TYPE_CHECKING:
    from .attack import Attack

attacks: Registry[type[Attack]] = Registry(
    "attack",
    "NAME",
    group="expunge.attacks",
    of="expunge.attacks.attack:Attack",
    builtin={
        "quantise": "expunge.attacks.quantise:Quantise",
        "merge": "expunge.attacks.merge:Merge",
        "compose": "expunge.attacks.compose:Compose",
        "membership": "expunge.attacks.membership:Membership",
        "scale": "expunge.attacks.scale:Scale",
        "quantised_base": "expunge.attacks.quantised_base:QuantisedBase",
        "remove": "expunge.attacks.remove:Remove",
        "guide": "expunge.attacks.guide:Guide",
        "relearn": "expunge.attacks.relearn:Relearn",
        "relearn-published": "expunge.attacks.relearn:RelearnAsPublished",
        "depth": "expunge.attacks.depth:Depth",
        "sample": "expunge.attacks.sample:Sample",
        "rephrase": "expunge.attacks.rephrase:Rephrase",
        "prefix": "expunge.attacks.prefix:Prefix",
        "prefill": "expunge.attacks.prefill:Prefill",
        "few_shot": "expunge.attacks.few_shot:FewShot",
        "in_context": "expunge.attacks.in_context:InContext",
        "role_play": "expunge.attacks.role_play:RolePlay",
        "translate_frame": "expunge.attacks.translate_frame:TranslateFrame",
        "cloze": "expunge.attacks.cloze:Cloze",
        "multiple_choice": "expunge.attacks.multiple_choice:MultipleChoice",
    },
)
