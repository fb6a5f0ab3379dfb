"""A damaged or incomplete adapter is refused wherever one is read, in a sentence that names the file."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from expunge import attach_adapter, export_adapter
from expunge.adapters.anchor import (
    REINFORCED,
    UNLEARN,
    adapted_layers,
    reinforced_config,
    restore,
    save_adapter,
)
from expunge.adapters.attach import uniform_importance
from expunge.adapters.export import export_merged, load_adapter
from expunge.adapters.stack import add_adapters, combine_adapters
from expunge.adapters.weights import CONFIG_FILE, WEIGHTS_FILE
from expunge.errors import InputError
from expunge.storage import CHECKSUMS
from tiny_models import random_model

LAYER = "base_model.model.model.layers.1.mlp.up_proj"
A, B = f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight"


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-20])


def tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS_FILE)
        change(weights)
        save_file(weights, folder / WEIGHTS_FILE)

    return damage


def settings(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = json.loads((folder / CONFIG_FILE).read_text())
        change(content)
        (folder / CONFIG_FILE).write_text(json.dumps(content))

    return damage


#: What is done to the folder, the file that is named, and what is said of it.
DAMAGES: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "weights cut short": (cut(WEIGHTS_FILE), WEIGHTS_FILE, "it cannot be read: "),
    "no weights": (lambda folder: (folder / WEIGHTS_FILE).write_bytes(b""), WEIGHTS_FILE, "it cannot be read: "),
    "one factor": (tensors(lambda weights: weights.pop(B)), WEIGHTS_FILE, f"it lacks {B}"),
    "another shape": (
        tensors(lambda weights: weights.update({A: torch.zeros(1, 24)})), WEIGHTS_FILE, f"its {A} has the shape",
    ),
    "transposed": (
        tensors(lambda weights: weights.update({A: weights[A].T.contiguous()})), WEIGHTS_FILE, f"its {A} has the shape",
    ),
    "configuration cut short": (cut(CONFIG_FILE), CONFIG_FILE, "it cannot be read: "),
    "no configuration": (lambda folder: (folder / CONFIG_FILE).unlink(), CONFIG_FILE, "it is missing"),
    "no object": (
        lambda folder: (folder / CONFIG_FILE).write_text("[]"), CONFIG_FILE, "it is not the configuration",
    ),
    "no rank": (settings(lambda content: content.pop("r")), CONFIG_FILE, "it lacks r"),
    "no scaling": (settings(lambda content: content.pop("lora_alpha")), CONFIG_FILE, "it lacks lora_alpha"),
    "no targets": (settings(lambda content: content.pop("target_modules")), CONFIG_FILE, "it lacks target_modules"),
    "a word for a rank": (settings(lambda content: content.update(r="two")), CONFIG_FILE, "its r is 'two'"),
    "another method": (
        settings(lambda content: content.update(peft_type="IA3")), CONFIG_FILE, "its peft_type is 'IA3'",
    ),
}  # fmt: skip
#: What shows only where the model is there, and what only of an exported adapter.
OF_THE_MODEL: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "no factors of a layer": (
        tensors(lambda weights: [weights.pop(A), weights.pop(B)]), WEIGHTS_FILE, f"it lacks {A}",
    ),
    "a layer that no model has": (
        tensors(lambda weights: weights.update({"base_model.model.x.lora_A.weight": torch.zeros(2, 3)})),
        WEIGHTS_FILE, "it holds x, which is no layer that",
    ),
}  # fmt: skip
OF_AN_EXPORT: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "another scaling": (
        settings(lambda content: content.update(lora_alpha=1)), CONFIG_FILE, "its lora_alpha is 1, but its r is",
    ),
    "record cut short": (cut("base_fingerprint.json"), "base_fingerprint.json", "it cannot be read: "),
    "no base": (
        lambda folder: (folder / "base_fingerprint.json").write_text("{}"),
        "base_fingerprint.json", "it lacks base, fingerprint",
    ),
}  # fmt: skip
ALL = {**DAMAGES, **OF_THE_MODEL, **OF_AN_EXPORT}


@pytest.fixture(scope="module")
def base() -> Any:
    return random_model()


@pytest.fixture
def adapter(base: Any, tmp_path: Path) -> Path:
    model = attach_adapter(copy.deepcopy(base), uniform_importance(base), rank=2, alpha=4)
    for layer in adapted_layers(model).values():
        layer.lora_B[UNLEARN].weight.data.mul_(1.5)
    folder = export_adapter(model, tmp_path / "adapter", base_name="base")
    (folder / CHECKSUMS).unlink()  # as version 0.1.0 wrote it: damage shows by the content alone
    return folder


def refused(folder: Path, damage: tuple[Callable[[Path], Any], str, str], use: Callable[[], Any]) -> str:
    """Damage the folder, and check what `use` says; returns the remedy."""
    change, file, reason = damage
    change(folder)
    with pytest.raises(InputError) as caught:
        use()
    (problem,) = caught.value.problems
    assert problem.where == str(folder / file)
    assert problem.reason.startswith(reason)
    return problem.remedy


@pytest.mark.parametrize("name", ALL)
def test_an_exported_adapter_on_its_base(base: Any, adapter: Path, tmp_path: Path, name: str) -> None:
    model = copy.deepcopy(base)
    assert "from its run" in refused(adapter, ALL[name], lambda: load_adapter(model, adapter))
    with pytest.raises(InputError):
        export_merged(model, None, adapter, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    with pytest.raises(InputError):
        add_adapters(model, [adapter])
    for key, weight in model.state_dict().items():
        assert torch.equal(weight, base.state_dict()[key])


@pytest.mark.parametrize("name", {**DAMAGES, **OF_AN_EXPORT})
def test_an_exported_adapter_that_is_combined(adapter: Path, tmp_path: Path, name: str) -> None:
    combined = tmp_path / "combined"
    refused(adapter, {**DAMAGES, **OF_AN_EXPORT}[name], lambda: combine_adapters([adapter], combined))
    assert not combined.exists()


@pytest.mark.parametrize("name", {**DAMAGES, **OF_THE_MODEL})
@pytest.mark.parametrize("which", ["initial", "reinforced"])
def test_an_adapter_of_the_run_itself(base: Any, tmp_path: Path, which: str, name: str) -> None:
    model = attach_adapter(copy.deepcopy(base), uniform_importance(base), rank=2, alpha=4)
    model.add_adapter(REINFORCED, reinforced_config(model))
    save_adapter(model, tmp_path / "initial")
    save_adapter(model, tmp_path / "reinforced", name=REINFORCED)
    folders = tmp_path / "initial", tmp_path / "reinforced"
    restore(copy.deepcopy(base), *folders)
    damage = {**DAMAGES, **OF_THE_MODEL}[name]
    remedy = refused(tmp_path / which, damage, lambda: restore(copy.deepcopy(base), *folders))
    assert "another --output" in remedy


def test_a_folder_whose_name_is_too_long_holds_none(base: Any) -> None:
    for use in (load_adapter, lambda model, adapter: add_adapters(model, [adapter])):
        with pytest.raises(InputError, match=r"it holds no adapter_model\.safetensors"):
            use(base, Path("x" * 5000))


def test_a_flipped_bit_is_named_before_the_base_is_doubted(base: Any, tmp_path: Path) -> None:
    """Of the record of the base too, which would seem to be of another one."""
    model = attach_adapter(copy.deepcopy(base), uniform_importance(base), rank=2, alpha=4)
    adapter = export_adapter(model, tmp_path / "adapter", base_name="base")
    for name in ("base_fingerprint.json", WEIGHTS_FILE, CONFIG_FILE):
        whole = (adapter / name).read_bytes()
        place = whole.rfind(b"0") if name.endswith("json") else len(whole) - 5
        (adapter / name).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        for use in (load_adapter, lambda model, folder: add_adapters(model, [folder])):
            with pytest.raises(InputError, match="it is not as it was written") as refused:
                use(copy.deepcopy(base), adapter)
            assert refused.value.problems[0].where == str(adapter / name)
        (adapter / name).write_bytes(whole)
    load_adapter(copy.deepcopy(base), adapter)
