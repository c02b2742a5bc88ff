"""The memory that a model's shape is said to take, against what its tensors and its passes take."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from prefloop.memory import (
    DEFAULT_TOKENS,
    ENOUGH_BYTES,
    PLENTY,
    Memory,
    Passes,
    Shape,
    available_bytes,
    most_held_bytes,
    room_for,
)
from prefloop.policy.adapters import count_parameters
from prefloop.policy.batches import PackItem, pack_groups
from prefloop.policy.scoring import forward_logps, output_head, runs_flat

SIZES = {
    "hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 6,
    "num_key_value_heads": 2, "vocab_size": 300, "tie_word_embeddings": True,
}  # fmt: skip
SMOLLM2 = Shape(134_515_008, layers=30, hidden=576, mlp=1536, attention=576, keys=192, vocabulary=49_152)


def memory_of(model: Any, **how: Any) -> Memory:
    shape = Shape.of(model.config.to_dict(), count_parameters(model)[1])
    assert shape is not None
    return Memory(shape, **how)


@pytest.mark.parametrize(("kind", "config"), [(LlamaForCausalLM, LlamaConfig), (Qwen2ForCausalLM, Qwen2Config)])
def test_a_pass_keeps_what_is_computed_for_it(kind: Any, config: Any) -> None:
    model = kind(config(**SIZES)).eval()
    (packed,) = pack_groups([PackItem(tuple(range(20, 60)), (tuple(range(60, 180)),) * 2)], token_budget=4096)
    assert runs_flat(model)
    output_head(model)
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logps = forward_logps(model, packed, with_grad=True)
    of_weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    found = sum(size for at, size in kept.items() if at not in of_weights)
    assert logps.requires_grad
    assert found == pytest.approx(memory_of(model).activations(packed.n_tokens), rel=0.15)


def test_what_stays_is_counted_for_every_way_of_training() -> None:
    full, half = Memory(SMOLLM2), Memory(SMOLLM2, width=2)
    assert full.fixed() == 16 * SMOLLM2.n_parameters  # weight, gradient, two moments
    assert half.fixed() == 18 * SMOLLM2.n_parameters  # and an fp32 copy of a weight of 2 bytes
    assert Memory(SMOLLM2, lora=True).fixed() < 4.5 * SMOLLM2.n_parameters
    assert Memory(SMOLLM2, width=8).fixed() == 32 * SMOLLM2.n_parameters


def test_a_cpu_takes_no_larger_passes_than_it_profits_from() -> None:
    memory = Memory(SMOLLM2)
    plan = memory.passes(PLENTY, most=DEFAULT_TOKENS, on_cpu=True)
    assert memory.activations(plan.tokens) <= ENOUGH_BYTES
    assert not plan.again(2048)
    tiny = Shape(600_000, layers=3, hidden=128, mlp=352, attention=128, keys=128, vocabulary=300)
    assert Memory(tiny).passes(PLENTY, most=DEFAULT_TOKENS, on_cpu=True).tokens == DEFAULT_TOKENS
    scarce = memory.passes(memory.activations(300), most=DEFAULT_TOKENS, on_cpu=True)
    assert not scarce.again(300)
    assert scarce.again(301)
    assert memory.peak(scarce, 2000) < memory.peak(plan, 2000)


def test_an_accelerator_takes_what_fits_and_computes_again_rather_than_taking_small_passes() -> None:
    memory = Memory(SMOLLM2, width=2)
    large = memory.passes(2**36, most=DEFAULT_TOKENS, on_cpu=False)
    assert large == Passes(DEFAULT_TOKENS, longest_kept=2**36 // memory.activations(1))
    small = memory.passes(2**30, most=DEFAULT_TOKENS, on_cpu=False)
    assert small.longest_kept == 0
    assert memory.activations(small.tokens, again=True) <= 2**30


def test_passes_are_halved_until_a_row_is_computed_again() -> None:
    passes: Passes | None = Passes(300, longest_kept=1000)
    seen = []
    while passes is not None:
        seen.append((passes.tokens, passes.longest_kept))
        passes = passes.halved()
    assert seen == [(300, 1000), (150, 1000), (75, 1000), (64, 1000), (64, 0)]


def test_room_is_what_is_left_when_everything_fixed_is_there() -> None:
    memory = Memory(SMOLLM2)
    assert room_for(memory, memory.fixed() // 2, held=0) == 0
    assert room_for(memory, 2 * memory.fixed(), held=0) < memory.fixed() < available_bytes() * 100
    assert room_for(memory, 2 * memory.fixed(), held=memory.weights()) > room_for(memory, 2 * memory.fixed(), held=0)


def test_the_most_that_was_held_is_what_this_program_held() -> None:
    """A process begun by one that holds much does not count that."""
    much = bytearray(300 * 2**20)
    much[::4096] = b"x" * len(much[::4096])
    mine = most_held_bytes()
    assert mine > len(much)
    code = "from prefloop.memory import most_held_bytes; print(most_held_bytes())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 2**22 < int(told.stdout) < 2**27
    del much
    assert most_held_bytes() > mine - 2**21  # the system counts roughly


def test_sizes_are_read_under_the_names_that_models_use() -> None:
    gpt2 = Shape.of({"n_embd": 8, "n_layer": 2, "n_head": 2, "vocab_size": 10}, 5)
    assert gpt2 == Shape(5, layers=2, hidden=8, mlp=32, attention=8, keys=8, vocabulary=10)
    nested = Shape.of({"text_config": {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
                       "head_dim": 16, "vocab_size": 9, "intermediate_size": 20}}, 1)  # fmt: skip
    assert nested == Shape(1, layers=1, hidden=8, mlp=20, attention=32, keys=32, vocabulary=9)
    assert Shape.of({"model_type": "rwkv"}, 5) is None
