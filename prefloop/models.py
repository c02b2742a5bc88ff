"""Facts about a model directory and its requirements, from its JSON files and headers alone: no torch.

Memory is what a process holds at most, in bytes, as `memory.py` computes it: in bf16 on a GPU and in fp32 on a CPU,
there with the process itself; with the activations of a prompt and its answers of together 512 tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from prefloop.checkpoints import ADAPTER_CONFIG, UnloadableModel, check_checkpoint_dir
from prefloop.memory import DEFAULT_TOKENS, PLENTY, PROCESS_BYTES, ROW_TOKENS, Memory, Passes, Shape
from prefloop.recipes.adapter import AUTO_PARAMETERS

# The architectures that are tested to score, sample and train as transformers does.
TESTED = ("llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3_text", "gpt2")
# plain sampling, and what a value may be
_SAMPLING = {"temperature": (1.0, 0.0, 10.0), "top_p": (1.0, 0.0001, 1.0), "top_k": (0, 0, 1_000_000)}


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
    shape: Shape
    notes: tuple[str, ...]

    @property
    def on_gpu(self) -> ModelFacts:
        """The same on a GPU, without what a process holds beside it."""
        return replace(self, **_memory(self.shape, on_gpu=True))  # type: ignore[arg-type]

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
        config=config,
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
    config: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> ModelFacts:
    """Say what a model takes and lacks, from what its files say of it. `notes`: what is to be said first."""
    said = list(notes)
    shape = Shape.of(config, n_parameters)
    if shape is None:
        said.append("its config.json does not tell its sizes: its memory is given without activations")
        shape = Shape(n_parameters)
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
        shape=shape,
        **_memory(shape, on_gpu=False),
    )


def _memory(shape: Shape, *, on_gpu: bool) -> dict[str, int]:
    width, process = (2, 0) if on_gpu else (4, PROCESS_BYTES)
    all_weights, lora = Memory(shape, width), Memory(shape, width, lora=True)

    def training(memory: Memory) -> int:
        # of an accelerator that is one row: it takes larger passes where there is room
        passes = Passes(1, ROW_TOKENS) if on_gpu else memory.passes(PLENTY, most=DEFAULT_TOKENS, on_cpu=True)
        return memory.peak(passes, process=process)

    return {
        "sampling_bytes": all_weights.sampling(process=process),
        "training_bytes": training(all_weights),
        "lora_bytes": training(lora),
    }
