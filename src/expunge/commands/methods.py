"""`expunge methods`: what there is to choose from."""

from __future__ import annotations

import json

from .parameters import AsJson


def methods(as_json: AsJson = False) -> None:
    """What there is: methods, losses, importance estimators and initialisations, with formula and paper."""
    from ..methods.catalogue import catalogue  # here for the start-up time

    kinds = catalogue()
    if as_json:
        print(json.dumps(kinds, indent=2, ensure_ascii=False))
        return
    width = max(len(entry["name"]) for entries in kinds.values() for entry in entries)
    for kind, entries in kinds.items():
        print(f"{kind}")
        for entry in entries:
            default = "   (the default)" if entry.get("default") else ""
            print(f"  {entry['name']:<{width}} {entry['formula']}{default}")
            settings = ", ".join(
                f"{key} = {value:g}" for key, value in entry.get("hyperparameters", {}).items()
            )
            needs = entry.get("needs") and f"needs: {', '.join(entry['needs'])}"
            details = [entry["paper"], settings, entry.get("published"), needs, entry.get("storage")]
            print(f"  {'':<{width}} {'; '.join(detail for detail in details if detail)}")
        print()
