"""The training run: from where it stands to its end, in steps that can be left and taken up again exactly.

What makes a resumed run equal an undisturbed one, bit for bit on one machine and thread count:
1. the rows of a step follow from the seed and the step alone;
2. reference log-probs are filled all at once and marked complete, never topped up (another packing would round
   otherwise);
3. parameters are copied into memory of their own after loading, so that their alignment, on which kernels' rounding
   may depend, is the same in a fresh and in a resumed process;
4. dropout is off (an adapter's draws from generators that are kept), and the optimizer's numbers are stored in full
   precision.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from typing_extensions import override

from prefloop.config import ConfigError
from prefloop.engine.examples import Example, batch_of, encode_demonstrations, encode_groups, encode_pairs, steps_of
from prefloop.engine.hardware import device_of, dtype_of, ready_to_step
from prefloop.engine.objectives import backward_batch, needs_target
from prefloop.engine.optimizer import MasterAdamW, clip_gradients, gradients, learning_rate, make_optimizer
from prefloop.engine.resume import (
    Position,
    check_room,
    newest_checkpoint,
    publish_result,
    restore_training,
    save_checkpoint,
    sweep,
    training_bytes,
)
from prefloop.engine.shell import Leaving, NotFinite, Outcome, RunProcess
from prefloop.policy.adapters import base_of
from prefloop.policy.loading import Policy, RewardModel, load_policy, load_reward_model, reward_model_from_policy
from prefloop.policy.reference import ReferenceCache
from prefloop.policy.scoring import unshared_because
from prefloop.recipes.runspec import FINAL_DIR
from prefloop.recipes.snapshots import read_demonstrations, read_groups, read_pairs
from prefloop.seeds import trainer_seed

_REFERENCE_DIR = "reference"


class TrainingRun(RunProcess):
    """A run on a snapshot: stored rows, in an order that the seed and the step decide."""

    @override
    def _run(self) -> Outcome:
        with self._ranks.main_first():
            sweep(self._dir)
            finished = self._finished()
        if finished is not None:
            return finished
        self._device = device_of(self._spec, self._ranks.local)
        self._dtype = dtype_of(self._spec, self._device)
        torch.set_num_threads(self._spec.threads)
        torch.manual_seed(trainer_seed(self._spec.seed))
        rows, sha256 = self._read_rows()
        with self._ranks.main_first():
            found = newest_checkpoint(
                self._dir, config_hash=self._spec.config_hash(), snapshot_sha256=sha256, on_log=self._log
            )
        whole = self._whole(found)
        loaded = self._load(whole, own=whole != self._path(self._spec.start))
        parent = self._spec.parent or (found.parent if found else loaded.fingerprint)
        model, tokenizer = loaded.model, loaded.tokenizer
        for name, parameter in model.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise NotFinite(f"the weights {name} of the start model hold values that are not finite numbers")
        examples = self._encode(rows, model, tokenizer)
        if self._spec.objective.rows != "demonstrations":
            longest = max(len(row.item.prompt_ids) + max(map(len, row.item.completions)) for row in examples)
            if reason := unshared_because(model, longest):
                self._log("warning", f"{reason}: each answer takes a row of its own, which is slower")
        references = self._references(examples, loaded if found is None else None)
        teacher = self._teacher(tokenizer)
        model, kept = self._adapted(loaded, found)
        for parameter in model.parameters():
            parameter.data = parameter.data.clone()
        optimizer = make_optimizer(model, self._spec.objective)
        self.step = restore_training(found.path, model, optimizer).step if found else 0
        check_room(self._dir, training_bytes(model, optimizer))
        settings = self._spec.objective
        n_steps = steps_of(len(examples), batch=settings.batch, epochs=settings.epochs)
        self._begin(found, n_rows=len(examples), n_steps=n_steps)

        def position() -> Position:
            per_epoch = -(-len(examples) // settings.batch)
            done, rest = divmod(self.step, per_epoch)
            consumed = done * len(examples) + min(rest * settings.batch, len(examples))
            return Position(self.step, consumed, self._spec.config_hash(), sha256)

        def save() -> None:
            if not self._ranks.is_main:
                return
            path, fingerprint = save_checkpoint(
                self._dir,
                model,
                tokenizer,
                optimizer,
                position=position(),
                parent=parent,
                keep_last=self._spec.keep_last,
                extra=kept,
            )
            self._events.write("checkpoint", step=self.step, path=path.name, fingerprint=fingerprint)

        def take() -> None:
            self._step(model, optimizer, examples, references, teacher, self.step, n_steps)

        status = self._steps(take, save, n_steps=n_steps, is_saved=found is not None)
        if status == "left":
            return Outcome("left", self.step)
        if not self._ranks.is_main:
            return Outcome(status, self.step)
        target = self._dir / FINAL_DIR
        fingerprint = publish_result(
            target,
            model,
            tokenizer,
            position=position(),
            parent=parent,
            extra={"status": status, **kept},
            merge_in=self._spec.adapter.merge,
        )
        return Outcome(status, self.step, target, fingerprint)

    def _step(
        self,
        model: Any,
        optimizer: MasterAdamW,
        examples: list[Example],
        references: dict[str, tuple[float, float]],
        teacher: Any,
        step: int,
        n_steps: int,
    ) -> None:
        spec, settings = self._spec, self._spec.objective
        batch = batch_of(examples, step, batch=settings.batch, seed=spec.seed)
        optimizer.zero_grad(set_to_none=True)
        ready_to_step(model, spare_memory=spec.spare_memory)
        result = backward_batch(
            model,
            spec.kind,
            batch,
            settings,
            token_budget=spec.token_budget,
            references=references,
            teacher=teacher,
            ranks=self._ranks,
        )
        self._ranks.sum_gradients(gradients(optimizer))
        norm = clip_gradients(optimizer, settings)
        rate = learning_rate(settings, step, n_steps)
        if not (math.isfinite(result.loss) and math.isfinite(norm)):
            raise NotFinite(
                f"the loss is not a finite number at step {step} (learning rate {rate:g}): lower objective.lr"
            )
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        values = {"loss": result.loss, **result.metrics, "grad_norm": norm, "learning_rate": rate}
        values["epoch"] = step * settings.epochs / n_steps
        self._events.write("metric", step=step, values=values)

    def _read_rows(self) -> tuple[list[Any], str]:
        path = self._path(self._spec.snapshot)
        readers: dict[str, Callable[..., list[Any]]] = {
            "demonstrations": read_demonstrations,
            "groups": read_groups,
        }
        read = readers.get(self._spec.objective.rows, read_pairs)
        rows = read(path, sha256=self._spec.snapshot_sha256)
        return rows, self._spec.snapshot_sha256 or hashlib.sha256(path.read_bytes()).hexdigest()

    def _load(self, path: Path, *, own: bool) -> Policy | RewardModel:
        """Load the model that is trained; a reward model may start from a policy, with a head of zeros."""
        if self._spec.kind != "reward-model":
            return load_policy(path, device=self._device, dtype=self._dtype)
        if own or _is_reward_model(path):
            return load_reward_model(path, device=self._device, dtype=self._dtype)
        policy = load_policy(path, device=self._device, dtype=self._dtype)
        return dataclasses.replace(reward_model_from_policy(policy), fingerprint=policy.fingerprint)

    def _encode(self, rows: list[Any], model: Any, tokenizer: Any) -> list[Example]:
        limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if self._spec.objective.rows == "demonstrations":
            return encode_demonstrations(rows, tokenizer, max_length=limit)
        if self._spec.objective.rows == "groups":
            return encode_groups(rows, tokenizer, max_length=limit)
        return encode_pairs(rows, tokenizer, max_length=limit, with_target=needs_target(self._spec.objective))

    def _teacher(self, tokenizer: Any) -> Any:
        """Load the model that GKD learns from; None for other losses. Raises ConfigError for another vocabulary."""
        if self._spec.objective.loss != "gkd" or self._spec.reference is None:
            return None
        teacher = load_policy(self._path(self._spec.reference), device=self._device, dtype=self._dtype)
        if teacher.tokenizer.get_vocab() != tokenizer.get_vocab():
            raise ConfigError("the teacher has another vocabulary than the student: their tokens can't be compared")
        return teacher.model.requires_grad_(False)

    def _references(
        self, examples: list[Example], start: Policy | RewardModel | None
    ) -> dict[str, tuple[float, float]]:
        """Fill the reference log-probs once; a fill that was cut short is done again from its beginning."""
        settings = self._spec.objective
        if not settings.needs_reference or settings.loss == "gkd" or self._spec.reference is None:
            return {}
        folder = self._dir / _REFERENCE_DIR
        marker = folder / "complete.json"
        items = [example.item for example in examples]
        if all(self._ranks.gather(marker.exists())):
            cache = ReferenceCache(folder, fingerprint=str(json.loads(marker.read_text("utf-8"))["fingerprint"]))
        else:
            main = self._ranks.is_main
            if main:
                shutil.rmtree(folder, ignore_errors=True)
            reference = self._reference_policy(start)
            cache = ReferenceCache(folder if main else None)
            batch, seed = self._spec.objective.batch, self._spec.seed
            for step in range(1, steps_of(len(examples), batch=batch, epochs=1) + 1):
                # Packed as the first epoch will be, so that a policy that is its reference has log-ratios of exactly 0.
                if any(self._ranks.gather(self._should_leave())):
                    raise Leaving
                rows = self._ranks.share(batch_of(examples, step, batch=batch, seed=seed))
                cache.fill(reference, [row.item for row in rows], token_budget=self._spec.token_budget)
            for values_of_one in self._ranks.gather(cache.values()):
                cache.add(values_of_one)
            if main:
                folder.mkdir(parents=True, exist_ok=True)
                temporary = marker.with_name("complete.tmp")
                temporary.write_text(json.dumps({"fingerprint": reference.fingerprint}), "utf-8")
                temporary.replace(marker)
        values = cache.get(items)
        return {example.id: (row[0], row[1]) for example, row in zip(examples, values, strict=True)}

    def _reference_policy(self, start: Policy | RewardModel | None) -> Policy:
        path = self._path(str(self._spec.reference))
        if isinstance(start, Policy) and path.resolve() == Path(start.path).resolve():
            return start  # not trained yet: it is its own reference
        return load_policy(path, device=self._device, dtype=self._dtype)


def _is_reward_model(path: Path) -> bool:
    try:
        config = json.loads(((base_of(path) or path) / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        raise ConfigError(f"{path} is not a model directory: it has no readable config.json") from None
    return any("ForSequenceClassification" in name for name in config.get("architectures") or [])
