"""Facts about a model directory and its requirements, from its JSON files and headers alone: no torch.

Memory is an estimate, in bytes, without activations, which depend on `token_budget` and `spare_memory`: a weight takes
2 bytes in bf16 (on a GPU) and 4 in fp32 (on a CPU); training also keeps its gradient, its two moments and, in bf16, an
fp32 copy, 4 bytes each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from prefloop.checkpoints import ADAPTER_CONFIG, UnloadableModel, check_checkpoint_dir
from prefloop.recipes.adapter import AUTO_PARAMETERS

# The architectures that are tested to score, sample and train as transformers does.
TESTED = ("llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3_text", "gpt2")
# plain sampling, and what a value may be
_SAMPLING = {"temperature": (1.0, 0.0, 10.0), "top_p": (1.0, 0.0001, 1.0), "top_k": (0, 0, 1_000_000)}
_LORA_SHARE = 0.02  # of the weights: rank 16 on all linear layers of models of 0.1 to 8 billion parameters


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """`notes` are for people: what will not work, or has not been tested."""

    architecture: str
    n_parameters: int
    n_bytes: int  # of the directory's files
    has_tokenizer: bool
    has_chat_template: bool
    trains_by_default: str  # "all weights" or "LoRA"
    sampling_bytes: int
    training_bytes: int
    lora_bytes: int
    notes: tuple[str, ...]

    @property
    def on_gpu(self) -> ModelFacts:
        """The same in bf16, in which a copy in fp32 is kept of each weight that is trained."""
        return replace(self, **_memory(self.n_parameters, weight=2, kept=16))  # type: ignore[arg-type]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "notes": list(self.notes)}


def model_facts(directory: str | Path, *, n_parameters: int) -> ModelFacts:
    """Inspect a model directory. Raises UnsafeCheckpoint, and UnloadableModel for an adapter without its model."""
    root = Path(directory)
    check_checkpoint_dir(root)
    # beside a config.json too: what is loaded then is the model that the adapter names, wherever it lies
    if not (root / "config.json").is_file() or (root / ADAPTER_CONFIG).is_file():
        raise UnloadableModel(
            f"{root.name} is an adapter: merge it into its model first (peft's merge_and_unload, save_pretrained)"
        )
    config = json.loads((root / "config.json").read_text("utf-8"))
    settings = root / "tokenizer_config.json"
    told = json.loads(settings.read_text("utf-8")) if settings.is_file() else {}
    return facts_of(
        str(config.get("model_type", "")),
        n_parameters=n_parameters,
        n_bytes=sum(file.stat().st_size for file in root.rglob("*") if file.is_file()),
        has_tokenizer=any((root / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")),
        has_template=bool(told.get("chat_template")) or (root / "chat_template.jinja").is_file(),
        has_end=bool(told.get("eos_token")) or config.get("eos_token_id") is not None,
        notes=_of_sampling(shipped_sampling(root)),
    )


def shipped_sampling(directory: str | Path) -> dict[str, float]:
    """Return the temperature, top_p and top_k that a model directory ships, where they differ from plain sampling.

    They are offered to whoever samples, and never applied by themselves: a training method learns from the model's own
    probabilities.
    """
    try:
        told = json.loads((Path(directory) / "generation_config.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(told, dict) or told.get("do_sample") is False:
        return {}
    found = {}
    for name, (plain, low, high) in _SAMPLING.items():
        value = told.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high and value != plain:
            found[name] = value
    return found


def _of_sampling(shipped: dict[str, float]) -> list[str]:
    if not shipped:
        return []
    said = ", ".join(f"{name} {value:g}" for name, value in shipped.items())
    return [f"it ships settings for sampling ({said}): they are offered where answers are sampled, not applied"]


def facts_of(
    kind: str,
    *,
    n_parameters: int,
    n_bytes: int,
    has_tokenizer: bool,
    has_template: bool,
    has_end: bool,
    notes: Sequence[str] = (),
) -> ModelFacts:
    """Say what a model takes and lacks, from what its files say of it. `notes`: what is to be said first."""
    said = list(notes)
    if kind not in TESTED:
        said.append(f"the architecture {kind or '?'} is not among those that are tested ({', '.join(TESTED)})")
    if not has_tokenizer:
        said.append("it has no tokenizer: save one beside it (tokenizer.save_pretrained)")
    if not has_end:
        said.append("it has no end-of-text token: its answers end at their longest only")
    if not has_template:
        said.append("it has no chat template: prompts are given as plain text, conversations joined by blank lines")
    return ModelFacts(
        architecture=kind,
        n_parameters=n_parameters,
        n_bytes=n_bytes,
        has_tokenizer=has_tokenizer,
        has_chat_template=has_template,
        trains_by_default="LoRA" if n_parameters > AUTO_PARAMETERS else "all weights",
        notes=tuple(said),
        **_memory(n_parameters, weight=4, kept=12),  # kept: gradient and two moments
    )


def _memory(n_parameters: int, *, weight: int, kept: int) -> dict[str, int]:
    adapter = 16 * int(n_parameters * _LORA_SHARE)  # in fp32 everywhere
    return {
        "sampling_bytes": weight * n_parameters,
        "training_bytes": (weight + kept) * n_parameters,
        "lora_bytes": weight * n_parameters + adapter,
    }
