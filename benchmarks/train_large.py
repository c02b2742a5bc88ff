"""What training a model of some size takes: all weights or LoRA, through the real engine, on random weights.

    python benchmarks/train_large.py [--model 0.5b|100m|tiny] [--pairs 64] [--device auto] [--json]

A Qwen2 architecture of that size is made here, so nothing is downloaded; what it costs does not depend on what the
weights say. Pairs have 192-token prompts and answers of 64 tokens. Peak memory: the GPU's allocator's, else the
process's resident set.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from prefloop.engine import train
from prefloop.engine.hardware import device_of
from prefloop.policy.loading import save_model
from prefloop.policy.tiny import byte_tokenizer
from prefloop.recipes.adapter import Adapter
from prefloop.recipes.events import read_events
from prefloop.recipes.recipe import Objective
from prefloop.recipes.runspec import RunSpec, write_spec
from prefloop.recipes.snapshots import write_snapshot
from prefloop.types import TrainingPair

# hidden, layers, heads, key-value heads, intermediate, vocabulary, tied: 0.5b is Qwen2-0.5B's own shape
SHAPES = {
    "0.5b": (896, 24, 14, 2, 4864, 151936, True),
    "100m": (640, 12, 10, 2, 2560, 32000, False),
    "tiny": (64, 2, 4, 2, 128, 512, False),
}
PROMPT, ANSWER = 192, 64


def make_model(directory: Path, name: str, *, dtype: torch.dtype = torch.bfloat16) -> int:
    """Write a model directory with random weights; return how many numbers it has."""
    hidden, layers, heads, kv_heads, intermediate, vocabulary, tied = SHAPES[name]
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, intermediate_size=intermediate, tie_word_embeddings=tied,
        max_position_embeddings=2048, eos_token_id=256, bos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config).to(dtype)
    save_model(model, byte_tokenizer(chat=True), directory)
    return sum(parameter.numel() for parameter in model.parameters())


def pairs(n: int) -> list[TrainingPair]:
    rng = random.Random(0)

    def text(length: int) -> str:
        return "".join(rng.choice("abcdefgh ") for _ in range(length))

    overhead = 30  # of the chat template, in bytes
    return [
        TrainingPair(f"r{at}", text(PROMPT - overhead), text(ANSWER - 1), text(ANSWER - 1), p_first=1.0)
        for at in range(n)
    ]


def measure(folder: Path, model: Path, kind: str, args: argparse.Namespace) -> dict[str, object]:
    info = write_snapshot(folder / "snapshot.jsonl", pairs(args.pairs))
    spec = RunSpec(
        run_id=kind,
        kind="dpo",
        start=str(model),
        reference=str(model),
        objective=Objective(loss="dpo", batch=args.batch, lr=1e-6 if kind != "lora" else 1e-4),
        snapshot_sha256=info.sha256,
        device=args.device,
        threads=torch.get_num_threads(),
        token_budget=args.token_budget,
        spare_memory=args.spare_memory,
        adapter=Adapter(kind="lora" if kind == "lora" else "none"),
    )
    write_spec(folder, spec)
    on_gpu = device_of(spec).type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    began = time.monotonic()
    ended = train.run(folder)
    if ended.exit_code != 0:
        raise SystemExit(f"{kind}: {ended.failure}")
    seconds = time.monotonic() - began
    steps = [event for event in read_events(folder / "events.jsonl")[0] if event.type == "metric"]
    rest = steps[-1].at - steps[0].at
    peak = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    gc.collect()
    return {
        "kind": kind,
        "first_loss": steps[0].data["values"]["loss"],
        "pairs_per_second": (len(steps) - 1) * args.batch / rest if rest > 0 else None,
        "whole_run_seconds": round(seconds, 1),
        "peak_gib": round(peak / 2**30, 2),
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "precision": "bfloat16" if on_gpu else "float32",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SHAPES, default="0.5b")
    parser.add_argument(
        "--kinds", default="lora,full", help="what to measure, in this order: memory only grows on a CPU"
    )
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--token-budget", type=int, default=8192)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--spare-memory", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        n_parameters = make_model(root / "model", args.model)
        rows = []
        for kind in args.kinds.split(","):
            (root / kind).mkdir()
            rows.append(
                {"model": args.model, "n_parameters": n_parameters, **measure(root / kind, root / "model", kind, args)}
            )
    if args.json:
        print(json.dumps(rows))
    else:
        for row in rows:
            print("  ".join(f"{key}={value}" for key, value in row.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
