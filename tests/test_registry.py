"""Names of built-in things and of installed packages: found without an import, loaded when they are looked up."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import pytest

from expunge.errors import InputError
from expunge.registry import Registry
from installed_packages import install

GROUP = "tests.shares"
BUILTIN = {"third": "built_in_shares:third", "half": "built_in_shares:half"}
MODULES = {
    "built_in_shares": "from fractions import Fraction\nhalf, third = Fraction(1, 2), Fraction(1, 3)\n",
    "other_shares": "from fractions import Fraction\nquarter, word = Fraction(1, 4), ''\nclass Share(Fraction): pass\n",
    "broken_shares": "raise RuntimeError('out of order\\nfor good')\n",
}  # fmt: skip


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in MODULES.items():
        (tmp_path / f"{name}.py").write_text(content)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def shares(builtin: Mapping[str, str] = BUILTIN) -> Registry:
    return Registry("share", "recipe.share", group=GROUP, of="fractions:Fraction", builtin=builtin)


def refusal(registry: Registry, name: str) -> str:
    with pytest.raises(InputError) as caught:
        registry[name]
    (problem,) = caught.value.problems
    return str(problem)


def test_names_are_known_without_an_import_and_in_order(site: Path) -> None:
    install(
        site, "more-shares", {GROUP: {"quarter": "other_shares:quarter", "a_class": "other_shares:Share"}}
    )
    registry = shares()
    assert list(registry) == ["third", "half", "a_class", "quarter"]
    assert len(registry) == 4
    assert "quarter" in registry
    assert "fifth" not in registry
    assert "Did you mean 'quarter'? Known: a_class, half, quarter, third." in str(registry.problem("quart"))
    assert not sys.modules.keys() & MODULES.keys()
    assert registry["quarter"] == Fraction(1, 4)
    assert "built_in_shares" not in sys.modules
    assert dict(registry)["half"] == Fraction(1, 2)
    assert issubclass(registry["a_class"], Fraction)


def test_an_unknown_name_names_the_nearest() -> None:
    assert refusal(shares(), "hal") == (
        "recipe.share: there is no share 'hal'. Did you mean 'half'? Known: half, third."
    )


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("no_such_module:share", "cannot be imported (ModuleNotFoundError: No module named 'no_such_module')."),
        ("other_shares:fifth", "cannot be imported (AttributeError: module 'other_shares' has no attribute 'fifth')."),
        ("broken_shares:fifth", "cannot be imported (RuntimeError: out of order for good)."),
        ("other_shares:word", "is of type str, not a share (fractions:Fraction)."),
    ],
)  # fmt: skip
def test_a_package_that_is_broken_is_named_when_it_is_looked_up(site: Path, value: str, reason: str) -> None:
    install(site, "more-shares", {GROUP: {"fifth": value}})
    registry = shares()
    assert registry["half"] == Fraction(1, 2)
    assert refusal(registry, "fifth") == (
        f"package more-shares, entry point 'fifth' of {GROUP}: {value!r} {reason} Correct the package, or uninstall it."
    )
    known, problems = registry.loadable()
    assert known == {"third": Fraction(1, 3), "half": Fraction(1, 2)}
    assert [str(problem) for problem in problems] == [refusal(registry, "fifth")]


def test_a_name_that_is_there_twice_names_both_packages(site: Path) -> None:
    install(site, "more-shares", {GROUP: {"half": "other_shares:quarter", "quarter": "other_shares:quarter"}})
    install(site, "yet-more-shares", {GROUP: {"quarter": "other_shares:quarter"}})
    registry = shares()
    assert list(registry) == ["third", "half", "quarter"]
    assert refusal(registry, "half") == (
        f"{GROUP}: half: the share 'half' is there 2 times, from expunge and more-shares. Uninstall more-shares, or "
        "have it call its own something else."
    )
    assert "is there 2 times, from more-shares and yet-more-shares." in refusal(registry, "quarter")
    assert registry["third"] == Fraction(1, 3)


def test_a_mistake_in_the_table_is_no_user_s(site: Path) -> None:
    with pytest.raises(ModuleNotFoundError):
        shares({"absent": "no_such_module:share"})["absent"]


def test_a_thing_without_a_package_is_added_once(site: Path) -> None:
    registry = shares()
    assert registry.register("fifth", Fraction(1, 5)) == registry["fifth"] == Fraction(1, 5)
    assert list(registry) == ["third", "half", "fifth"]
    for taken in ("half", "fifth"):
        with pytest.raises(ValueError, match=f"There is a share '{taken}' already"):
            registry.register(taken, Fraction(1))


@pytest.mark.parametrize("name", ["objectives:forget_losses", "objectives:retain_losses", "importance:estimators",
                                  "benchmarks.registry:benchmarks"])  # fmt: skip
def test_the_tables_name_things_of_their_kind(name: str) -> None:
    """Built-in things are not looked at as a stranger's are."""
    from pkgutil import resolve_name

    registry = resolve_name(f"expunge.{name}")
    kind = resolve_name(registry._of)
    for thing in registry.values():
        assert isinstance(thing, kind) or issubclass(thing, kind)
