from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from prefloop.policy.decoding import Decoder
from prefloop.policy.sampling import SamplePrompt, sample
from prefloop.policy.shared_prefix import SharedPrefixDecoder, decoder_for
from prefloop.policy.tiny import tiny_policy as make_tiny_policy

PROMPTS = [(5, 6, 7, 8), (9,), (200, 3)]


def _walk(decoder: Decoder) -> list[torch.Tensor]:
    """Prefill three prompts with 3, 1 and 2 rows, step, let rows leave until one whole prompt is gone, step on."""
    out = [decoder.prefill(PROMPTS, torch.tensor([3, 1, 2]), 6)]
    out.append(decoder.step(torch.tensor([1, 2, 3, 4, 5, 6])))
    out.append(decoder.step(torch.tensor([6, 5, 4, 3, 2, 1])))
    decoder.keep(torch.tensor([0, 2, 4]))  # rows 0 and 2 of the first prompt, the first of the third
    out.append(decoder.step(torch.tensor([7, 8, 9])))
    decoder.keep(torch.tensor([2]))
    out.append(decoder.step(torch.tensor([11])))
    return out


def _whole_rows(model: Any) -> list[torch.Tensor]:
    """The same by one forward pass over each whole row."""
    rows = [
        [*PROMPTS[p], *new] for p, new in [(0, (1, 6)), (0, (2, 5)), (0, (3, 4)), (1, (4, 3)), (2, (5, 2)), (2, (6, 1))]
    ]

    def last(ids: list[int]) -> torch.Tensor:
        return model(torch.tensor([ids])).logits[0, -1]

    return [
        torch.stack([last(row[:-2]) for row in rows]),
        torch.stack([last(row[:-1]) for row in rows]),
        torch.stack([last(row) for row in rows]),
        torch.stack([last([*rows[0], 7]), last([*rows[2], 8]), last([*rows[4], 9])]),
        torch.stack([last([*rows[4], 9, 11])]),
    ]


@pytest.mark.parametrize("kind", [Decoder, SharedPrefixDecoder])
def test_steps_from_the_cache_give_the_logits_of_whole_rows(any_policy: Any, kind: type[Decoder]) -> None:
    with torch.inference_mode():
        for mine, theirs in zip(_walk(kind(any_policy.model)), _whole_rows(any_policy.model), strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


def test_every_architecture_shares_its_prefixes(any_policy: Any) -> None:
    assert isinstance(decoder_for(any_policy.model), SharedPrefixDecoder)


def test_the_model_has_its_own_attention_back_after_every_step(tiny_policy: Any) -> None:
    before = tiny_policy.model.config._attn_implementation
    sample(tiny_policy, [SamplePrompt("a", (1, 2))], n=3, max_tokens=4, seed=0)
    assert tiny_policy.model.config._attn_implementation == before
    assert tiny_policy.model.training is False


def test_a_model_that_takes_no_attention_function_is_decoded_the_plain_way(tiny_policy: Any, caplog: Any) -> None:
    prompts = [SamplePrompt("a", (1, 2)), SamplePrompt("b", (3,))]
    expected = sample(tiny_policy, prompts, n=3, max_tokens=8, seed=0)
    stubborn = make_tiny_policy(seed=1)
    original = stubborn.model.base_model.forward

    def forward(*args: Any, prefloop_cache: Any = None, **kwargs: Any) -> Any:
        return original(*args, **kwargs)  # loses what it does not know

    stubborn.model.base_model.forward = forward
    with caplog.at_level("WARNING"):
        assert type(decoder_for(stubborn.model)) is Decoder
    assert "prompts are not shared in decoding" in caplog.text
    got = sample(stubborn, prompts, n=3, max_tokens=8, seed=0)
    assert [[c.ids for c in g.completions] for g in got] == [[c.ids for c in g.completions] for g in expected]


def test_padding_beyond_the_sliding_window_is_refused() -> None:
    config = MistralConfig(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, sliding_window=8,
    )  # fmt: skip
    model = MistralForCausalLM(config).eval()
    prompts = [(1, 2, 3), (4,)]
    with torch.inference_mode():
        Decoder(model).prefill(prompts, torch.tensor([1, 1]), 5)  # 8 tokens: the window holds them all
        with pytest.raises(ValueError, match="sliding window"):
            Decoder(model).prefill(prompts, torch.tensor([1, 1]), 6)


def test_sampling_leaves_the_training_mode_as_it_was(tiny_policy: Any) -> None:
    tiny_policy.model.train()
    sample(tiny_policy, [SamplePrompt("a", (1, 2))], n=1, max_tokens=2, seed=0)
    assert tiny_policy.model.training is True
