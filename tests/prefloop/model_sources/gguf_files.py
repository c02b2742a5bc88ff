"""GGUF files written by llama.cpp's own package: a tiny Qwen2 with a byte-level tokenizer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from prefloop.policy.tiny import CHAT_TEMPLATE, END, EOS, START, tiny_policy

Q8_0 = gguf.GGMLQuantizationType.Q8_0
_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def policy_with_merges() -> Any:
    """Make a tiny Qwen2 whose tokenizer has the bytes, one merge and three control tokens, as a GGUF file needs."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate([*alphabet, "th"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("t", "h")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=EOS, pad_token=EOS, additional_special_tokens=[START, END]
    )
    fast.chat_template = CHAT_TEMPLATE
    made = tiny_policy(seed=1, vocab_size=len(fast))
    return replace(made, tokenizer=fast)


def write_gguf(path: Path, policy: Any, *, kind: gguf.GGMLQuantizationType) -> dict[str, np.ndarray]:
    """Write a tiny Qwen2 policy, its matrices of this kind; return each of its tensors as a reader must give it."""
    config, tokenizer = policy.model.config, policy.tokenizer
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    control = set(tokenizer.all_special_tokens) | set(tokenizer.get_added_vocab())
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in control else 1 for token in tokens])
    writer.add_token_merges(["t h"])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)
    meant = {}
    for name, tensor in policy.model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        numbers = tensor.detach().float().numpy()
        kind_here = kind if numbers.ndim == 2 and numbers.shape[1] % 32 == 0 else gguf.GGMLQuantizationType.F32
        stored = gguf.quants.quantize(numbers, kind_here)
        meant[name] = gguf.quants.dequantize(stored, kind_here).reshape(numbers.shape)
        writer.add_tensor(_gguf_name(name), stored, raw_dtype=kind_here)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return meant


def _gguf_name(name: str) -> str:
    stem, _, last = name.rpartition(".")
    if stem.startswith("model.layers."):
        _, _, number, part = stem.split(".", 3)
        return f"blk.{number}.{_NAMES[part]}.{last}"
    return f"{_NAMES[stem]}.{last}"
