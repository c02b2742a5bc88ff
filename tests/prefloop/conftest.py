"""Fixtures of the library's tests: tiny random models, made here, never fetched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# machines that run tests are shared and noisy: the time of one example proves nothing
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_policy_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a tiny random Qwen2 and a byte-level tokenizer with a chat template."""
    from tests.prefloop.tiny import save_tiny_policy

    return save_tiny_policy(tmp_path_factory.mktemp("models") / "tiny", seed=0, chat=True)


@pytest.fixture
def tiny_policy() -> Any:
    """A fresh tiny random Qwen2 in memory, free to be changed."""
    from prefloop.policy.tiny import tiny_policy

    return tiny_policy(seed=1)


@pytest.fixture(params=["qwen2", "llama", "gpt2"])
def any_policy(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Tiny random policies of three architectures, dropout in the config but off by eval mode."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    from prefloop.policy.loading import Policy
    from prefloop.policy.tiny import byte_tokenizer, tiny_policy

    if request.param == "qwen2":
        yield tiny_policy(seed=1)
        return
    tokenizer = byte_tokenizer()
    common = {"vocab_size": len(tokenizer), "initializer_range": 0.3, "eos_token_id": 256, "bos_token_id": None}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        if request.param == "llama":
            config = LlamaConfig(
                **common, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, max_position_embeddings=512,
            )  # fmt: skip
            model = LlamaForCausalLM(config)
        else:
            model = GPT2LMHeadModel(GPT2Config(**common, n_embd=32, n_layer=2, n_head=4, n_positions=512))
    yield Policy(model.eval(), tokenizer, "", f"tiny-{request.param}", torch.device("cpu"), torch.float32)
