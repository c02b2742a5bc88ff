"""Train the world's policy from scratch: a Qwen2-architecture model of under a million parameters.

The hard part is not fluency but copying the name and the thing from the prompt. With the usual initial standard
deviation of 0.02 attention starts so flat that copying sometimes never forms; with 0.08 it forms within seconds.
Deterministic given seed and thread count.
"""

from __future__ import annotations

import math
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from prefloop.checkpoints import publish
from prefloop.policy.precision import in_full
from prefloop.policy.prompts import Answered, encode_rows
from prefloop.types import PrefloopError
from prefloop.worlds.letters import corpus
from prefloop.worlds.letters.tokenizer import MAX_LENGTH, train_tokenizer

Size = Literal["tiny", "full"]
MAX_TOKENS = 96  # room for any letter: the corpus's longest has 83 tokens
OnProgress = Callable[[int, int, float], None]  # (step, n_steps, loss in nats per token)


class SftError(PrefloopError):
    """Training can't start with these arguments."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A policy's size and the numbers that train it."""

    hidden: int
    layers: int
    heads: int
    mlp: int
    n_letters: int
    batch: int
    lr: float
    initial_std: float
    epochs: int = 1
    weight_decay: float = 0.01
    warmup_fraction: float = 0.05
    final_lr_fraction: float = 0.05
    clip_norm: float = 1.0


# Small batches matter: copying forms after so many steps rather than after so many letters.
SHAPES: dict[Size, Shape] = {
    "full": Shape(hidden=128, layers=3, heads=4, mlp=352, n_letters=10_000, batch=8, lr=2e-3, initial_std=0.08),
    "tiny": Shape(hidden=64, layers=2, heads=4, mlp=176, n_letters=7_000, batch=8, lr=4e-3, initial_std=0.08),
}


@dataclass(frozen=True, slots=True)
class SftResult:
    path: Path
    n_parameters: int
    n_letters: int
    n_tokens: int  # prompt and completion, over all epochs
    n_steps: int
    loss: float  # nats per completion token, mean of the last tenth of the steps
    seconds: float


@dataclass(frozen=True, slots=True)
class _Row:
    ids: tuple[int, ...]
    n_prompt: int


def train_sft(
    out_dir: Path | str,
    *,
    seed: int = 0,
    n_letters: int | None = None,
    size: Size = "full",
    on_progress: OnProgress | None = None,
    threads: int | None = None,
) -> SftResult:
    """Train on `n_letters` letters (the size's own number if None) and write a standard model directory to `out_dir`.

    The directory (safetensors, JSON, the chat template) appears at once, when everything in it is written. `threads`
    sets torch's thread count while it trains. Raises SftError if `out_dir` exists and isn't an empty directory.
    """
    out = Path(out_dir)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SftError(f"{out} exists already; name a new directory or remove it first")
    shape = SHAPES[size]
    n = shape.n_letters if n_letters is None else n_letters
    if n < shape.batch:
        raise SftError(f"n_letters must be at least one batch ({shape.batch}), not {n}")
    started = time.monotonic()
    letters = list(corpus.letters(n, seed=seed))
    tokenizer = train_tokenizer(text for letter in letters for text in (letter.prompt.text, letter.text))
    rows = _encode(tokenizer, letters)
    with _torch_state(seed=seed, threads=threads):
        model = Qwen2ForCausalLM(_config(shape, tokenizer))
        losses = _fit(model, rows, shape=shape, seed=seed, on_progress=on_progress)
    _publish(model, tokenizer, out, seed=seed, step=len(losses))
    return SftResult(
        path=out,
        n_parameters=model.num_parameters(),
        n_letters=n,
        n_tokens=shape.epochs * sum(len(row.ids) for row in rows),
        n_steps=len(losses),
        loss=sum(tail := losses[-max(1, len(losses) // 10) :]) / len(tail),
        seconds=time.monotonic() - started,
    )


def _encode(tokenizer: PreTrainedTokenizerFast, letters: Sequence[corpus.Letter]) -> list[_Row]:
    encoded = encode_rows(tokenizer, [Answered(letter.prompt.text, (letter.text,)) for letter in letters])
    return [_Row(ids=(*prompt, *completion), n_prompt=len(prompt)) for prompt, (completion,) in encoded]


@contextmanager
def _torch_state(*, seed: int, threads: int | None) -> Iterator[None]:
    """Seed torch and set its threads, and restore the caller's own state afterwards."""
    threads_before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads_before)


def _config(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=MAX_LENGTH,
        initializer_range=shape.initial_std,
        tie_word_embeddings=True,
        use_sliding_window=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )


def _fit(
    model: Qwen2ForCausalLM, rows: Sequence[_Row], *, shape: Shape, seed: int, on_progress: OnProgress | None
) -> list[float]:
    """AdamW with warm-up, cosine and clipping; the loss, in nats per completion token, of each step."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": shape.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=shape.lr,
        betas=(0.9, 0.95),
    )
    batches = [batch for epoch in range(shape.epochs) for batch in _batches(rows, shape.batch, seed=seed + epoch)]
    losses = []
    model.train()
    for step, batch in enumerate(batches):
        factor = _lr_factor(step, len(batches), shape)
        for group in optimizer.param_groups:
            group["lr"] = shape.lr * factor
        loss = _loss(model, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), shape.clip_norm)
        optimizer.step()
        losses.append(loss.item())
        if on_progress is not None:
            on_progress(step + 1, len(batches), losses[-1])
    model.eval()
    return losses


def _lr_factor(step: int, n_steps: int, shape: Shape) -> float:
    warmup = max(1, round(shape.warmup_fraction * n_steps))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, n_steps - warmup)
    return shape.final_lr_fraction + (1 - shape.final_lr_fraction) * 0.5 * (1 + math.cos(math.pi * done))


def _batches(rows: Sequence[_Row], size: int, *, seed: int) -> list[list[_Row]]:
    """Whole batches of rows of similar length, in random order: on short rows this wastes less than packing them."""
    rng = random.Random(f"letters-sft-{seed}")
    order = list(range(len(rows)))
    rng.shuffle(order)
    order.sort(key=lambda index: len(rows[index].ids))  # stable: rows of one length stay shuffled
    batches = [[rows[i] for i in order[start : start + size]] for start in range(0, len(order) - size + 1, size)]
    rng.shuffle(batches)
    return batches


def _loss(model: Qwen2ForCausalLM, batch: Sequence[_Row]) -> Tensor:
    """Mean negative log-likelihood over the completions' tokens, EOS included.

    Rows are padded on the right, where no real token can see the padding under causal attention, so no mask is needed;
    logits are computed only where the loss needs them.
    """
    length = max(len(row.ids) for row in batch)
    ids = torch.zeros(len(batch), length, dtype=torch.long)
    scored = torch.zeros(len(batch), length, dtype=torch.bool)
    for index, row in enumerate(batch):
        ids[index, : len(row.ids)] = torch.tensor(row.ids)
        scored[index, row.n_prompt : len(row.ids)] = True
    hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    predicts = scored[:, 1:]
    logits = model.lm_head(hidden[predicts])
    return torch.nn.functional.cross_entropy(in_full(logits), ids[:, 1:][predicts])


def _publish(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path, *, seed: int, step: int) -> None:
    """Write everything under another name, then rename: a reader sees the whole directory or none."""
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        model.generation_config = GenerationConfig(
            do_sample=True,
            temperature=1.0,
            top_p=1.0,
            top_k=0,  # off: the policy's own law
            max_new_tokens=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        if out.exists():
            out.rmdir()  # it was empty when training began
        publish(unfinished, out, step=step, extra={"world": "letters", "seed": seed})
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
