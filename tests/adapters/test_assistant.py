"""ULD's model: logits as by the formula, decoding as a loop without any cache would do it, weights shared."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

import expunge
from expunge import attach_adapter
from expunge.adapters import assistant as module
from expunge.adapters.assistant import AssistedModel, first_blocks, load_assisted, save_assistant
from expunge.errors import InputError
from expunge.evaluation.generation import ROUND, continuations
from expunge.models.answers import answer_tokens
from expunge.models.blocks import transformer_blocks
from expunge.models.fingerprint import fingerprint
from tiny_models import SHAPES, VOCABULARY, random_batch, random_model

WEIGHT = 0.75
BATCH = random_batch(4)
PROMPTS = torch.randint(1, VOCABULARY, (3, 6), generator=torch.Generator().manual_seed(5))
GREEDY = {"max_new_tokens": 6, "eos_token_id": None, "pad_token_id": 0, "do_sample": False}


def assisted(base, offset_weight: float = WEIGHT) -> AssistedModel:
    """An assistant of one block whose adapter has moved, as if it had been trained."""
    torch.manual_seed(4)
    assistant = attach_adapter(first_blocks(base, 1), rank=3, alpha=6)
    for parameter in assistant.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    return AssistedModel(base, assistant, offset_weight).eval()


def assistant_alone(model: AssistedModel, shape: str, folder: Path) -> PeftModel:
    """The oracle: a model of one block made from a configuration, with weights and adapter read from files."""
    save_assistant(model, folder / "assistant")
    config = copy.deepcopy(model.base.config)
    config.num_hidden_layers = 1
    if shape == "gpt_neo":
        config.attention_types, config.attention_layers = [[["global"], 1]], ["global"]
    alone = type(model.base)(config).eval()
    alone.load_state_dict(random_model(shape).state_dict(), strict=False)
    return PeftModel.from_pretrained(alone, str(folder / "assistant" / "adapter"))


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_those_of_the_formula_by_two_separate_models(shape: str, tmp_path: Path) -> None:
    model = assisted(random_model(shape))
    alone = assistant_alone(model, shape, tmp_path)
    inputs = {key: BATCH[key] for key in ("input_ids", "attention_mask")}
    with torch.no_grad():
        whole, part = random_model(shape)(**inputs).logits, alone(**inputs).logits
        found = model(**inputs).logits
        kept = answer_tokens(model, BATCH).logits
    assert (found - whole).abs().max() > 0.1  # the assistant does say something
    torch.testing.assert_close(found, whole - WEIGHT * part, rtol=0, atol=1e-4)
    predicted = torch.zeros_like(BATCH["labels"], dtype=torch.bool)
    predicted[:, :-1] = BATCH["labels"][:, 1:] != -100
    torch.testing.assert_close(kept, found[predicted], rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_generation_is_the_greedy_loop_without_any_cache(shape: str) -> None:
    model = assisted(random_model(shape))
    lengths = [6, 4, 2]
    mask = torch.tensor([[0] * (6 - length) + [1] * length for length in lengths])
    found = model.generate(input_ids=PROMPTS * mask, attention_mask=mask, **GREEDY)
    for row, length in enumerate(lengths):
        sequence = PROMPTS[row, 6 - length :].tolist()
        for _ in range(6):
            with torch.no_grad():
                sequence.append(int(model(input_ids=torch.tensor([sequence])).logits[0, -1].argmax()))
        assert found[row, 6:].tolist() == sequence[length:]


def test_the_assistant_reads_each_token_once_and_follows_beams(monkeypatch: pytest.MonkeyPatch) -> None:
    model = assisted(random_model())
    lengths = []
    model.assistant.register_forward_hook(
        lambda _module, _inputs, keywords, _output: lengths.append(keywords["input_ids"].shape[1]),
        with_kwargs=True,
    )
    model.generate(input_ids=PROMPTS, **GREEDY)
    assert lengths == [6, 1, 1, 1, 1, 1]
    beams = model.generate(input_ids=PROMPTS, num_beams=3, **GREEDY)
    monkeypatch.setattr(module._Subtraction, "_follows", lambda *_: False)
    anew = model.generate(input_ids=PROMPTS, num_beams=3, **GREEDY)
    assert torch.equal(beams, anew)


def test_of_a_batch_that_is_written_it_reads_each_token_once(word_tokenizer) -> None:
    model = assisted(random_model())
    lengths = []
    model.assistant.register_forward_hook(
        lambda _module, _inputs, keywords, _output: lengths.append(keywords["input_ids"].shape[1]),
        with_kwargs=True,
    )
    continuations(model, word_tokenizer, [[5, 6, 7]], 2 * ROUND)
    assert sum(lengths) < 3 + 2 * ROUND


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weight_0_is_the_base_bit_for_bit(dtype: torch.dtype) -> None:
    base = random_model().to(dtype)
    model = assisted(base, offset_weight=0.0)
    with torch.no_grad():
        found, wanted = (each(input_ids=BATCH["input_ids"]).logits for each in (model, base))
        texts = [each.generate(input_ids=PROMPTS, **GREEDY) for each in (model, base)]
    assert torch.equal(found, wanted)
    assert torch.equal(*texts)


def test_there_is_no_second_model_in_memory() -> None:
    base = random_model()
    state = {name: weight.clone() for name, weight in base.state_dict().items()}
    model = assisted(base)
    own = {weight.data_ptr() for weight in base.parameters()}
    added = [name for name, weight in model.assistant.named_parameters() if weight.data_ptr() not in own]
    assert added
    assert all(".lora_" in name for name in added)
    assert len(transformer_blocks(base)) == 2
    assert base.config.num_hidden_layers == 2
    assert base.state_dict().keys() == state.keys()
    assert all(torch.equal(base.state_dict()[name], weight) for name, weight in state.items())


def test_what_is_saved_is_loaded_on_the_original_and_nowhere_else(tmp_path: Path) -> None:
    model = assisted(random_model())
    save_assistant(model, tmp_path / "assistant", base_name="somewhere")
    again = expunge.load_assisted(random_model(), tmp_path / "assistant")
    with torch.no_grad():
        found, wanted = (each(input_ids=BATCH["input_ids"]).logits for each in (again, model))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert again.offset_weight == WEIGHT
    assert len(load_file(tmp_path / "assistant" / "adapter" / "adapter_model.safetensors")) == 2 * 7

    other = random_model(scale=4.0)
    with pytest.raises(InputError, match=fingerprint(other)):
        load_assisted(other, tmp_path / "assistant")
    with pytest.raises(InputError, match=r"holds no assistant\.json"):
        load_assisted(random_model(), tmp_path)
    with pytest.raises(InputError, match=r"holds no assistant\.json"):
        save_assistant(model, tmp_path)


def test_an_assistant_is_a_part_not_the_whole() -> None:
    with pytest.raises(InputError, match=r"method\.layers: an assistant of 2 blocks .* Use fewer than 2"):
        first_blocks(random_model(), 2)
