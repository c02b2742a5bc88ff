"""The two sides of the training benchmark: `python -m benchmarks._train_sides` answers for either.

Ours is the engine's own training process (`prefloop.engine.train.run`), the peer TRL's `DPOTrainer` with its defaults
and the same numbers. Both are timed the same way: from the beginning of one step to the beginning of a later one.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks._harness import matrix_peak, now, peak_bytes, serve

SEED = 0


def answer(request: dict[str, Any]) -> dict[str, Any]:
    job = dict(request)
    return {
        "ours": ours,
        "our_work": our_work,
        "trl": trl,
        "memory": lambda **_: {"peak_bytes": peak_bytes(), "device_bytes": _device_peak()},
        "matrix_peak": lambda device, dtype: {"flops": matrix_peak(device, dtype)},
    }[job.pop("do")](**job)


def _device_peak() -> int:
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0


def ours(
    model: str,
    pairs: str,
    n_pairs: int,
    batch: int,
    warm: int,
    timed: int,
    lr: float,
    device: str,
    dtype: str,
    **_: Any,
) -> dict[str, Any]:
    """Train on the pairs; returns the losses, and the seconds of `timed` steps and of their references."""
    from prefloop.engine import train
    from prefloop.recipes.adapter import Adapter
    from prefloop.recipes.events import read_events
    from prefloop.recipes.recipe import Objective
    from prefloop.recipes.runspec import RunSpec, write_spec

    n_steps = warm + timed + 1
    assert n_steps * batch == n_pairs
    asked: list[float] = []

    def should_leave() -> bool:  # asked before each batch of references and each step
        asked.append(now(device))
        return False

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copyfile(pairs, folder / "snapshot.jsonl")
        objective = Objective(loss="dpo", batch=batch, lr=lr, schedule="linear", clip=1.0, beta=0.1)
        spec = RunSpec(
            run_id="bench",
            kind="dpo",
            start=model,
            reference=model,
            snapshot_sha256=hashlib.sha256(Path(pairs).read_bytes()).hexdigest(),
            objective=objective,
            seed=SEED,
            device=device,
            threads=torch.get_num_threads(),
            precision=dtype,
            adapter=Adapter(kind="none"),  # all weights, as the peer
        )
        write_spec(folder, spec)
        ended = train.run(folder, should_leave=should_leave)
        if ended.failure is not None:
            raise RuntimeError(str(ended.failure))
        events, _offset = read_events(folder / "events.jsonl")
    losses = [event.data["values"]["loss"] for event in events if event.type == "metric"]
    references, steps = asked[:n_steps], asked[n_steps:]
    assert len(steps) == n_steps
    return {
        "losses": losses,
        "reference_seconds": references[warm + timed] - references[warm],
        "step_seconds": steps[warm + timed] - steps[warm],
    }


def trl(
    model: str,
    pairs: str,
    n_pairs: int,
    batch: int,
    warm: int,
    timed: int,
    lr: float,
    device: str,
    dtype: str,
    precompute: bool = False,
    per_device: int | None = None,
    record_losses: bool = False,
    **_: Any,
) -> dict[str, Any]:
    """Train with DPOTrainer on the same pairs in the same order."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import DPOConfig, DPOTrainer

    class Clock(TrainerCallback):
        begun: list[float] = []

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            self.begun.append(now(device))

    class Recording(DPOTrainer):
        seen: list[float] = []

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().compute_loss(*args, **kwargs)
            self.seen.append(float(loss.detach()))
            return loss

    per_device = per_device or batch
    rows = _rows(model, pairs, batch)
    with tempfile.TemporaryDirectory() as name:
        settings = DPOConfig(
            output_dir=name,
            per_device_train_batch_size=per_device,
            gradient_accumulation_steps=batch // per_device,
            num_train_epochs=1,
            learning_rate=lr,
            lr_scheduler_type="linear",
            beta=0.1,
            max_grad_norm=1.0,
            precompute_ref_log_probs=precompute,
            train_sampling_strategy="sequential",
            bf16=dtype == "bfloat16",
            use_cpu=device == "cpu",
            model_init_kwargs={"dtype": "float32"},
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=SEED,
        )
        Clock.begun, Recording.seen = [], []
        kind = Recording if record_losses else DPOTrainer
        trainer = kind(model=model, args=settings, train_dataset=Dataset.from_list(rows), callbacks=[Clock()])
        ids = [(row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) for row in trainer.train_dataset]
        trainer.train()
    parts = batch // per_device
    losses = [sum(Recording.seen[at : at + parts]) / parts for at in range(0, len(Recording.seen), parts)]
    return {
        "losses": losses,
        "step_seconds": Clock.begun[warm + timed] - Clock.begun[warm],
        "tokens_sha256": _digest(ids),
    }


def our_work(model: str, pairs: str, batch: int, **_: Any) -> dict[str, Any]:
    """Say what the engine is given: a hash of the token ids, chosen first, and what a pair needs at the least.

    `train_flops` is a forward and a backward pass (6 a weight and token), `reference_flops` a forward pass: the body
    over prompt and completions once, the head over completions, attention over what may be seen. Nothing that is
    computed twice counts.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(model)
    with torch.device("meta"):
        n_weights = AutoModelForCausalLM.from_config(config).num_parameters()
    head = config.vocab_size * config.hidden_size
    body = n_weights - head * (1 if config.tie_word_embeddings else 2)
    examples = _in_order(model, pairs, batch)
    total = 0
    for example in examples:
        n_prompt, answers = len(example.item.prompt_ids), [len(ids) for ids in example.item.completions]
        seen = n_prompt * (n_prompt + 1) // 2 + sum(n * n_prompt + n * (n + 1) // 2 for n in answers)
        total += 2 * body * (n_prompt + sum(answers)) + 2 * head * sum(answers)
        total += 4 * config.num_hidden_layers * config.hidden_size * seen
    ids = [(e.item.prompt_ids, *(e.item.completions if e.p_first == 1 else e.item.completions[::-1])) for e in examples]
    forward = total / len(examples)
    return {"tokens_sha256": _digest(ids), "train_flops": 3 * forward, "reference_flops": forward, "weights": n_weights}


def _digest(ids: list[Any]) -> str:
    text = repr([[list(part) for part in row] for row in ids])
    return hashlib.sha256(text.encode()).hexdigest()


def _in_order(model: str, pairs: str, batch: int) -> list[Any]:
    from transformers import AutoTokenizer

    from prefloop.engine.examples import batch_of, encode_pairs
    from prefloop.recipes.snapshots import read_pairs

    examples = encode_pairs(read_pairs(Path(pairs)), AutoTokenizer.from_pretrained(model), max_length=None)
    steps = range(1, len(examples) // batch + 1)
    return [example for step in steps for example in batch_of(examples, step, batch=batch, seed=SEED)]


def _rows(model: str, pairs: str, batch: int) -> list[dict[str, Any]]:
    """The pairs as texts; a prompt is rendered with the chat template where the tokenizer has one.

    Of messages TRL would also train on what the template writes after the end of an answer (a line break here).
    """
    from transformers import AutoTokenizer

    from prefloop.recipes.snapshots import read_pairs

    by_id = {row.id: row for row in read_pairs(Path(pairs))}
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows: list[dict[str, Any]] = []
    for example in _in_order(model, pairs, batch):
        pair = by_id[example.id]
        chosen, rejected = (pair.first, pair.second) if pair.p_first == 1 else (pair.second, pair.first)
        prompt = pair.prompt
        if tokenizer.chat_template:
            asked = [{"role": "user", "content": prompt}]
            prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return rows


if __name__ == "__main__":
    torch.set_num_threads(max(1, torch.get_num_threads()))
    serve(answer)
