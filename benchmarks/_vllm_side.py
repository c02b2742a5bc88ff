"""vLLM's side of the sampling benchmark, run by vLLM's own interpreter: it answers as `_sample_sides` does."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

_loaded: dict[tuple[str, str], Any] = {}


def answer(model: str, prompts: list[str], n: int, max_tokens: int, seed: int, dtype: str, **_: Any) -> dict[str, Any]:
    """Draw n samples of each prompt; prompts become messages where the tokenizer has a chat template."""
    from vllm import LLM, SamplingParams

    if (model, dtype) not in _loaded:
        _loaded[model, dtype] = LLM(model, dtype=dtype, max_model_len=1024, seed=0)
    llm = _loaded[model, dtype]
    params = SamplingParams(n=n, temperature=1.0, top_p=1.0, top_k=0, max_tokens=max_tokens, seed=seed)
    tokenizer = llm.get_tokenizer()
    if tokenizer.chat_template:
        prompts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
            )
            for text in prompts
        ]
    started = time.perf_counter()
    found = llm.generate(prompts, params, use_tqdm=False)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "tokens": sum(len(one.token_ids) for group in found for one in group.outputs)}


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            said = answer(**json.loads(line))
        except Exception as error:  # noqa: BLE001 - the process boundary: the other side raises it
            said = {"error": repr(error)}
        out.write(json.dumps(said) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
