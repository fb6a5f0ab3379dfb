"""bf16 is asked for only where it can pay, and attention written out is the same attention."""

from __future__ import annotations

import pytest
import torch

from expunge.models.half_precision import bf16_speedup, faster_precision, may_gain
from expunge.models.loading import without_float16
from expunge.models.modes import eager_attention
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


@pytest.mark.parametrize(
    ("large", "speedup", "chosen"), [(True, 1.5, "bf16"), (True, 1.4, "fp32"), (False, 9.0, "fp32")]
)
def test_a_large_model_is_trained_in_what_is_faster(
    large: bool, speedup: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("expunge.models.half_precision.LEAST_PARAMETERS", 1 if large else 50_000_000)
    monkeypatch.setattr("expunge.models.half_precision.bf16_speedup", lambda width: speedup)
    monkeypatch.setattr("expunge.models.half_precision.device", lambda: torch.device("cpu"))
    assert faster_precision(random_model()) == chosen


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
