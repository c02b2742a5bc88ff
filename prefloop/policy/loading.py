"""Loading and saving policies and reward models in local directories, in safetensors only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
)
from transformers.utils import logging as transformers_logging

from prefloop.checkpoints import MANIFEST, UnloadableModel, check_checkpoint_dir, fingerprint, verify_manifest
from prefloop.config import ConfigError
from prefloop.interrupting import make_interruptible
from prefloop.policy.adapters import base_of, is_adapted, merge_stored, save_adapter, save_merged
from prefloop.policy.prompts import end_ids

transformers_logging.disable_progress_bar()  # bars are for terminals; here they would fill the logs of workers

__all__ = [
    "Policy",
    "Reader",
    "RewardModel",
    "UnloadableModel",
    "check_checkpoint_dir",
    "is_reward_model",
    "load_policy",
    "load_reader",
    "load_reward_model",
    "reward_model_from_policy",
    "save_model",
    "stop_ids",
]


@dataclass(slots=True)
class Policy:
    """A causal language model. `fingerprint` is that of the files it was loaded from, and is out of date after
    training.
    """

    model: Any  # a transformers PreTrainedModel with a language-model head
    tokenizer: Any
    path: str
    fingerprint: str
    device: torch.device
    dtype: torch.dtype


@dataclass(slots=True)
class RewardModel:
    """A sequence classifier with one label; its score is the scalar at the last token."""

    model: Any
    tokenizer: Any
    path: str
    fingerprint: str
    device: torch.device
    dtype: torch.dtype


@dataclass(slots=True)
class Reader:
    """What is needed of a policy whose weights are elsewhere: its tokenizer, its stop tokens, its context length."""

    tokenizer: Any
    path: str
    stop_ids: tuple[int, ...]
    max_length: int | None  # tokens of prompt and answer together


def load_policy(path: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> Policy:
    """Load a causal language model, in eval mode (dropout off). Raises UnsafeCheckpoint or UnloadableModel."""
    model, tokenizer, digest = _load(AutoModelForCausalLM, path, device=device, dtype=dtype)
    if model.get_output_embeddings() is None:
        raise UnloadableModel(f"{path} has no language-model head")
    return Policy(model, tokenizer, str(path), digest, torch.device(device), dtype)


def load_reward_model(
    path: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> RewardModel:
    """Load a sequence classifier with one label, in eval mode. Raises UnsafeCheckpoint or UnloadableModel."""
    model, tokenizer, digest = _load(AutoModelForSequenceClassification, path, device=device, dtype=dtype)
    if model.config.num_labels != 1:
        raise UnloadableModel(f"{path} has {model.config.num_labels} labels; a reward model has one")
    return RewardModel(model, tokenizer, str(path), digest, torch.device(device), dtype)


def load_reader(path: str | Path) -> Reader:
    """Load everything of a checkpoint except its weights. Raises UnsafeCheckpoint or UnloadableModel."""
    check_checkpoint_dir(path)
    with _load_errors(path):
        tokenizer = AutoTokenizer.from_pretrained(str(path), **_SAFE)
        config = AutoConfig.from_pretrained(str(path), **_SAFE).get_text_config()
        generation = None
        if (Path(path) / "generation_config.json").exists():
            generation = GenerationConfig.from_pretrained(str(path), local_files_only=True)
    limit = getattr(config, "max_position_embeddings", None)
    return Reader(tokenizer, str(path), _stop_ids(tokenizer, generation or config), limit)


def is_reward_model(path: Path) -> bool:
    """Say whether a directory holds a sequence classifier. Raises ConfigError if it is no model directory."""
    try:
        config = json.loads(((base_of(path) or path) / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        raise ConfigError(f"{path} is not a model directory: it has no readable config.json") from None
    return any("ForSequenceClassification" in name for name in config.get("architectures") or [])


def reward_model_from_policy(policy: Policy) -> RewardModel:
    """Make a reward model with the policy's body (copied) and a head of zeros: every score starts at exactly 0."""
    source = policy.model
    settings = {key: value for key, value in source.config.to_dict().items() if key not in ("id2label", "label2id")}
    config = type(source.config).from_dict({**settings, "num_labels": 1, "architectures": None})
    if config.pad_token_id is None:
        config.pad_token_id = policy.tokenizer.pad_token_id or policy.tokenizer.eos_token_id
    try:
        model = AutoModelForSequenceClassification.from_config(config)
    except ValueError as error:
        raise UnloadableModel(
            f"{config.model_type} has no sequence classifier, so it can be no reward model"
        ) from error
    model.base_model.load_state_dict(source.base_model.state_dict())
    with torch.no_grad():
        for parameter in reward_head(model).parameters():
            parameter.zero_()
    model = model.to(device=policy.device, dtype=policy.dtype).eval()
    make_interruptible(layers_of(model))
    return RewardModel(model, policy.tokenizer, "", "", policy.device, policy.dtype)


def save_model(model: Any, tokenizer: Any, directory: str | Path) -> None:
    """Write weights (safetensors), config and tokenizer so that `from_pretrained` reads them; no manifest.

    For a model with an adapter only the adapter is written: its directory names the model that it belongs to.
    """
    if is_adapted(model):
        save_adapter(model, directory)
    else:
        model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def save_weights(model: Any, directory: str | Path) -> None:
    """Write what a server needs of a model: weights and config, with an adapter merged in; the model itself is
    unchanged.
    """
    if is_adapted(model):
        save_merged(model, directory)
    else:
        model.save_pretrained(directory)


def layers_of(model: nn.Module) -> list[nn.Module]:
    """List the layers that a pass goes through one after the other."""
    return [layer for module in model.modules() if isinstance(module, nn.ModuleList) for layer in module]


def reader_of(policy: Policy) -> Reader:
    """Return what is known of a policy besides its weights."""
    limit = getattr(policy.model.config.get_text_config(), "max_position_embeddings", None)
    return Reader(policy.tokenizer, policy.path, stop_ids(policy), limit)


def reward_head(model: nn.Module) -> nn.Module:
    """Find the linear head of a sequence classifier; raises UnloadableModel if there is none with a known name."""
    for name in ("score", "classifier"):
        head: Any = getattr(model, name, None)
        # beside an adapter the head trains as a copy, which peft wraps together with the original
        if isinstance(head, nn.Linear) or isinstance(getattr(head, "original_module", None), nn.Linear):
            found: nn.Module = head
            return found
    raise UnloadableModel(f"{type(model).__name__} has no linear head named score or classifier")


def stop_ids(policy: Policy) -> tuple[int, ...]:
    """List the token ids that end a completion: the chat template's, the generation config's, the tokenizer's EOS."""
    return _stop_ids(policy.tokenizer, getattr(policy.model, "generation_config", None))


def _stop_ids(tokenizer: Any, generation: Any) -> tuple[int, ...]:
    found = set(end_ids(tokenizer))
    for value in (getattr(generation, "eos_token_id", None), tokenizer.eos_token_id):
        if isinstance(value, int):
            found.add(value)
        elif value is not None:
            found.update(int(item) for item in value)
    return tuple(sorted(found))


_SAFE: Mapping[str, Any] = {"trust_remote_code": False, "local_files_only": True}


@contextmanager
def _load_errors(path: str | Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnloadableModel(f"{path} cannot be loaded: {first_line}") from error


def _load(kind: Any, path: str | Path, *, device: str | torch.device, dtype: torch.dtype) -> tuple[Any, Any, str]:
    if torch.device(device).type == "cuda":
        # cuDNN makes a plan for every shape it meets (1.7 ms a call, seen on an H100), and with packed rows and a
        # growing cache every step has another; flash and memory-efficient attention need none
        torch.backends.cuda.enable_cudnn_sdp(False)
    check_checkpoint_dir(path)
    digest = fingerprint(path)
    base = base_of(path)
    if base is not None:
        _check_base(Path(path), base)
    with _load_errors(path):
        model = kind.from_pretrained(str(base or path), use_safetensors=True, dtype=dtype, **_SAFE)
        tokenizer = AutoTokenizer.from_pretrained(str(path), **_SAFE)
    model = model.to(device)
    if base is not None:
        model = merge_stored(model, path)
    make_interruptible(layers_of(model))
    return model.eval(), tokenizer, digest


def _check_base(path: Path, base: Path) -> None:
    """Refuse an adapter whose base is missing, unsafe, or (if its manifest tells) not the one it was trained on."""
    if not base.is_dir():
        raise UnloadableModel(f"{path} is an adapter of {base}, which is not there")
    check_checkpoint_dir(base)
    if not (path / MANIFEST).is_file():
        return
    known = verify_manifest(path)["extra"].get("base_fingerprint")
    if known and known != fingerprint(base):
        raise UnloadableModel(f"{path} is an adapter of {base}, which is not what it was when the adapter was trained")
