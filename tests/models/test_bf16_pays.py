"""bf16 is asked for only where it can pay, and attention written out is the same attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from expunge.data.encoding import Example
from expunge.evaluation.generation import greedy_continuations
from expunge.evaluation.likelihood import answer_losses
from expunge.models.half_precision import (
    bf16_speedup,
    may_gain,
    pass_precision,
    passing_in,
    weights_at_hand,
)
from expunge.models.linear import linear_layers
from expunge.models.loading import without_float16
from expunge.models.modes import eager_attention
from expunge.models.settings import Precision
from tiny_models import random_model


@pytest.mark.parametrize(
    ("dtype", "parameters", "asked"),
    [
        (torch.float32, 50_000_000, torch.cuda.is_available() is False),
        (torch.float32, 49_999_999, False),
        (torch.bfloat16, 50_000_000, False),  # its products are in bf16 as it is
    ],
)
def test_only_large_models_in_fp32_are_asked_for(dtype: torch.dtype, parameters: int, asked: bool) -> None:
    assert may_gain(dtype, parameters) is asked


def test_a_product_is_timed() -> None:
    assert 1e-3 < bf16_speedup(64) < 1e3


@pytest.fixture
def quick_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that is, and every model a large one."""
    monkeypatch.setattr("expunge.models.half_precision.LEAST_PARAMETERS", 1)
    monkeypatch.setattr("expunge.models.half_precision.bf16_speedup", lambda width: 1.6)
    monkeypatch.setattr("expunge.models.half_precision.device", lambda: torch.device("cpu"))


@pytest.mark.usefixtures("quick_in_bf16")
@pytest.mark.parametrize(
    ("large", "speedup", "said", "chosen"),
    [
        (True, 1.5, "auto", "bf16"),
        (True, 1.4, "auto", "fp32"),
        (True, 1.4, "bf16", "bf16"),  # as the run has found elsewhere
        (True, 9.0, "fp32", "fp32"),
        (False, 9.0, "auto", "fp32"),
        (False, 9.0, "bf16", "fp32"),
    ],
)
def test_a_large_model_passes_in_what_is_faster_or_what_the_run_says(
    large: bool, speedup: float, said: Precision, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("expunge.models.half_precision.LEAST_PARAMETERS", 1 if large else 50_000_000)
    monkeypatch.setattr("expunge.models.half_precision.bf16_speedup", lambda width: speedup)
    with passing_in(said):
        assert pass_precision(random_model()) == chosen
    assert pass_precision(random_model()) == ("bf16" if large and speedup >= 1.5 else "fp32")


@pytest.mark.usefixtures("quick_in_bf16")
def test_what_scores_and_writes_passes_in_bf16_and_comes_to_the_same(word_tokenizer: Any) -> None:
    model = random_model().float()
    examples = [Example([1, 2, 3, 4, 5], [-100, -100, 3, 4, 5]), Example([8, 9, 10], [-100, 9, 10])]
    dtypes: list[torch.dtype] = []
    model.lm_head.register_forward_hook(lambda *call: dtypes.append(call[2].dtype))

    def scored(precision: Precision) -> list[float]:
        dtypes.clear()
        with passing_in(precision):
            losses = [each.loss for each in answer_losses(model, examples, pad_token_id=0)]
            greedy_continuations(model, word_tokenizer, [[1, 2, 3]], 2)
        assert set(dtypes) == {torch.float32 if precision == "fp32" else torch.bfloat16}
        return losses

    full, half = scored("fp32"), scored("auto")
    assert half != full
    assert half == pytest.approx(full, rel=0.02)
    assert model.lm_head.weight.dtype == torch.float32


@pytest.mark.usefixtures("quick_in_bf16")
@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_while_a_model_writes_its_layers_have_bf16_at_hand_and_then_their_own_again(shape: str) -> None:
    model = random_model(shape).float()
    own = {name: (weight, weight.clone()) for name, weight in model.named_parameters()}
    with passing_in("fp32"), weights_at_hand(model):
        assert {weight.dtype for weight in model.parameters()} == {torch.float32}

    def write() -> None:
        with weights_at_hand(model):
            layers = {*linear_layers(model).values(), model.get_output_embeddings()}
            assert {layer.weight.dtype for layer in layers} == {torch.bfloat16}
            assert model.get_input_embeddings().weight.dtype == torch.float32
            raise KeyError

    with pytest.raises(KeyError):
        write()
    after = dict(model.named_parameters())
    assert all(after[name] is weight for name, (weight, _) in own.items())
    assert all(torch.equal(weight, before) for weight, before in own.values())
    assert model.get_output_embeddings().weight is after.get(
        "lm_head.weight", model.get_input_embeddings().weight
    )


def test_attention_written_out_computes_the_same_and_is_put_back() -> None:
    model = random_model()
    config, ids = model.config, torch.arange(12).view(2, 6)
    fused = model(ids).logits
    seen = []
    model.model.layers[0].self_attn.register_forward_hook(lambda *_: seen.append(config._attn_implementation))
    with eager_attention(model):
        torch.testing.assert_close(model(ids).logits, fused, rtol=1e-4, atol=1e-5)
    assert seen == ["eager"]
    assert config._attn_implementation == "sdpa"


@pytest.mark.parametrize("own", [torch.float16, torch.bfloat16, torch.float32])
def test_a_checkpoint_in_fp16_is_trained_in_bf16(own: torch.dtype) -> None:
    """Whatever its configuration says: a loss that is not scaled has no gradients in fp16."""
    model = random_model().to(own)
    assert without_float16(model).dtype == (torch.bfloat16 if own == torch.float16 else own)
