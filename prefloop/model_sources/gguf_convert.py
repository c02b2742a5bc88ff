"""`python -m prefloop.model_sources.gguf_convert FILE DIRECTORY`: write a GGUF file as a plain model directory.

transformers reads the file and dequantises the weights, but still treats the model as quantised and refuses to save it.
So the weights are copied into a plain model of the same configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefloop.model_sources.child import NoModel, serve

LARGE = 1_000_000_000  # parameters; larger models are written in bf16: their quantised weights had fewer bits anyway


def convert(arguments: list[str], told: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Write the whole directory, or nothing. Raises NoModel."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file, out = Path(arguments[0]), Path(arguments[1])
    told(0, 3, "reading the tokenizer")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
        told(1, 3, "reading the weights")
        read = AutoModelForCausalLM.from_pretrained(str(file.parent), gguf_file=file.name, dtype=torch.float32)
    except (ValueError, KeyError, NotImplementedError, RuntimeError) as error:
        raise NoModel(f"transformers can't read this GGUF file: {str(error).splitlines()[0][:300]}") from error
    told(2, 3, "writing the model")
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    kind = torch.bfloat16 if read.num_parameters() > LARGE else torch.float32
    config.dtype = kind
    plain: Any = type(read)(config)
    plain = plain.to(dtype=kind)
    plain.load_state_dict(read.state_dict())
    plain.save_pretrained(out, safe_serialization=True)
    tokenizer.save_pretrained(out)
    return {"n_parameters": int(read.num_parameters())}


if __name__ == "__main__":
    serve(convert)
