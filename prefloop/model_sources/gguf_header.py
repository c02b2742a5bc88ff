"""Read the header of a GGUF file: architecture, sizes, tokenizer. Imports no torch.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

from math import prod
from typing import Any

from prefloop.model_sources.child import NoModel

_NAMES = {"gemma3": "gemma3_text"}  # where transformers has another name
_SIZES = {  # in a config.json, and here after the architecture's name
    "num_hidden_layers": "block_count",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
}
_PLAIN = frozenset({"F32", "F16", "BF16", "F64"})


def read(path: str) -> dict[str, Any]:
    """Read the header of a file, not its weights. Raises NoModel."""
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
    except (ValueError, OSError, KeyError, IndexError) as error:
        raise NoModel(f"this is not a GGUF file that can be read: {error}") from error

    def text(key: str) -> str:
        field = reader.get_field(key)
        return str(field.contents()) if field is not None else ""

    kinds = sorted({tensor.tensor_type.name for tensor in reader.tensors} - _PLAIN)
    architecture = text("general.architecture")
    if not reader.tensors or not architecture:
        raise NoModel("this GGUF file holds no model: no architecture or no weights (a vocabulary or a part alone?)")
    if reader.get_field("split.count") is not None and text("split.count") not in ("0", "1"):
        raise NoModel("this is one part of a GGUF model in several files: join them first (llama-gguf-split --merge)")
    sizes = {name: text(f"{architecture}.{key}") for name, key in _SIZES.items()}
    config = {name: int(value) for name, value in sizes.items() if value.isdecimal()}
    tokens = reader.get_field("tokenizer.ggml.tokens")
    if tokens is not None:
        config["vocab_size"] = len(tokens.data)
    return {
        "architecture": _NAMES.get(architecture, architecture),
        "n_parameters": sum(prod(int(n) for n in tensor.shape) for tensor in reader.tensors),
        "has_tokenizer": tokens is not None,
        "has_template": bool(text("tokenizer.chat_template")),
        "has_end": reader.get_field("tokenizer.ggml.eos_token_id") is not None,
        "quantised": ", ".join(kinds),
        "config": config,
    }
