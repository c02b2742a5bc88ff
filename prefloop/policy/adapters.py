"""LoRA adapters through peft: added to a model's frozen weights, stored alone, merged.

An adapter's directory is what `peft.PeftModel.from_pretrained(base, directory)` reads: adapter_config.json and
adapter_model.safetensors. Its matrices are fp32 whatever the model's precision (peft casts around them).

peft is imported where it is used: the import takes seconds, which every process that loads a model would pay.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from prefloop.checkpoints import ADAPTER_CONFIG, UnloadableModel, named_base
from prefloop.recipes.adapter import ALL_LINEAR, Adapter

ADAPTER_WEIGHTS = "adapter_model.safetensors"


def is_adapted(model: Any) -> bool:
    return hasattr(model, "peft_config") and hasattr(model, "merge_and_unload")


def add_adapter(model: Any, settings: Adapter, *, base: str) -> Any:
    """Freeze the model and add a new adapter, which changes nothing yet (its second matrix is zero).

    `base` names the model's directory for the loader of the adapter; `./` and `../` are seen from the adapter's own. A
    reward model's head is trained in full. Raises
    UnloadableModel if no layer has one of the names.
    """
    from peft import LoraConfig, get_peft_model

    rewards = any(isinstance(getattr(model, name, None), nn.Linear) for name in ("score", "classifier"))
    names = settings.target_names
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=ALL_LINEAR if names == (ALL_LINEAR,) else list(names),
        task_type="SEQ_CLS" if rewards else "CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # GPT-2's layers are transposed: peft sets fan_in_fan_out itself, and says so
        try:
            adapted = get_peft_model(model, config)
        except ValueError as error:
            raise UnloadableModel(f"no adapter: {str(error).splitlines()[0]}") from error
    adapted.peft_config["default"].base_model_name_or_path = base
    return adapted.eval()


def save_adapter(model: Any, directory: str | Path, *, below: str = "") -> None:
    """Write only the adapter's config and weights; the same adapter gives the same bytes.

    `below` leads from this directory to the one that a relative name of the base is seen from.
    """
    folder = Path(directory)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the embeddings are not saved with it, which is right: they don't train
        model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's form of a model card, not filled in
    config = json.loads((folder / ADAPTER_CONFIG).read_text("utf-8"))
    for name, value in config.items():
        if isinstance(value, list):  # sets, in the order of a hash that differs from process to process
            config[name] = sorted(value)
    if below and config["base_model_name_or_path"].startswith(("./", "../")):
        config["base_model_name_or_path"] = f"{below}/{config['base_model_name_or_path']}"
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", "utf-8")


def restore_adapter(model: Any, directory: str | Path) -> None:
    """Put stored weights into an adapter that `add_adapter` made with the same settings. Raises UnloadableModel."""
    from peft import set_peft_model_state_dict

    result: Any = set_peft_model_state_dict(model, load_file(Path(directory) / ADAPTER_WEIGHTS))
    lost = [name for name in result.missing_keys if "lora_" in name]
    if lost or result.unexpected_keys:
        raise UnloadableModel(f"the adapter in {directory} does not fit: {[*lost, *result.unexpected_keys][0]}")


def merge_stored(model: Any, directory: str | Path) -> Any:
    """Return the plain model with a stored adapter merged into its weights. Raises UnloadableModel."""
    from peft import PeftModel

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return merge(PeftModel.from_pretrained(model, str(directory), local_files_only=True))
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise UnloadableModel(f"the adapter in {directory} cannot be loaded: {str(error).splitlines()[0]}") from error


def merge(model: Any) -> Any:
    """Turn an adapted model into the plain one with the adapter merged in; the adapted model can't be used
    afterwards.
    """
    return model.merge_and_unload(safe_merge=True).eval()


def save_merged(model: Any, directory: str | Path) -> None:
    """Write the plain model with the adapter merged into its weights, and leave the adapted one unchanged.

    Merging in place and undoing it would leave rounding errors in the weights.
    """
    plain = model.get_base_model()
    state = {name.replace(".base_layer.", "."): one for name, one in plain.state_dict().items() if "lora_" not in name}
    for name, layer in plain.named_modules():
        if hasattr(layer, "get_delta_weight"):
            weight = state[f"{name}.weight"]
            for adapter in layer.active_adapters:
                weight = weight + layer.get_delta_weight(adapter).to(weight.dtype)
            state[f"{name}.weight"] = weight
    plain.save_pretrained(directory, state_dict=state)


def base_of(directory: str | Path) -> Path | None:
    """Name the model directory that an adapter belongs to; None if the directory is a full model."""
    path = Path(directory) / ADAPTER_CONFIG
    if not path.is_file():
        return None
    try:
        return named_base(directory)
    except (ValueError, KeyError, TypeError):
        raise UnloadableModel(f"{path} does not name its base model") from None


def count_parameters(model: Any) -> tuple[int, int]:
    """Count the trained parameters, and all of them."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, trains in sizes if trains), sum(size for size, _ in sizes)
