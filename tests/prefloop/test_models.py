from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from prefloop.checkpoints import UnloadableModel
from prefloop.memory import PROCESS_BYTES
from prefloop.models import model_facts, shipped_sampling


def test_a_model_directory_says_what_it_takes(tiny_policy_dir: Path) -> None:
    facts = model_facts(tiny_policy_dir, n_parameters=1000)
    assert (facts.architecture, facts.has_tokenizer, facts.has_chat_template) == ("qwen2", True, True)
    assert facts.notes == ()
    large = model_facts(tiny_policy_dir, n_parameters=500_000_000)
    assert large.trains_by_default == "LoRA"
    # fp32: a weight 4 bytes, its gradient and two moments 4 each; LoRA 2 % of it, weight, gradient and moments
    more = large.n_parameters - facts.n_parameters
    assert large.sampling_bytes - facts.sampling_bytes == 4 * more
    assert large.training_bytes - facts.training_bytes == 16 * more
    assert large.lora_bytes - facts.lora_bytes == pytest.approx(4.32 * more)
    # in bf16 a weight takes 2 bytes, and an fp32 copy of it is kept
    assert large.on_gpu.training_bytes - facts.on_gpu.training_bytes == 18 * more
    # the tiny model's activations and the process itself
    assert PROCESS_BYTES + 16 * 1000 < facts.training_bytes < PROCESS_BYTES + 100_000_000


def test_what_is_missing_is_said(tiny_policy_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "rwkv"}))
    (tmp_path / "model.safetensors").write_bytes((tiny_policy_dir / "model.safetensors").read_bytes())
    notes = " ".join(model_facts(tmp_path, n_parameters=1).notes)
    wanted = ("rwkv is not among", "no tokenizer", "no end-of-text", "no chat template", "not tell its sizes")
    assert all(part in notes for part in wanted)
    (tmp_path / "config.json").rename(tmp_path / "adapter_config.json")
    with pytest.raises(UnloadableModel, match="merge it into its model first"):
        model_facts(tmp_path, n_parameters=1)


@pytest.mark.parametrize(
    ("told", "offered"),
    [
        (
            {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20},
            {"temperature": 0.6, "top_p": 0.95, "top_k": 20},
        ),
        ({"temperature": 1.0, "top_p": 1.0, "top_k": 0}, {}),  # plain sampling
        ({"do_sample": False, "temperature": 0.6}, {}),
        ({"temperature": "hot", "top_p": 7, "top_k": True}, {}),
        ([], {}),
    ],
)
def test_shipped_settings_are_offered_where_they_differ_from_plain_sampling(tmp_path, told, offered):
    (tmp_path / "generation_config.json").write_text(json.dumps(told), "utf-8")
    assert shipped_sampling(tmp_path) == offered


def test_shipped_settings_are_a_note_of_the_model(tiny_policy_dir: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_policy_dir, tmp_path / "model")
    assert not any("settings for sampling" in note for note in model_facts(model, n_parameters=1).notes)
    (model / "generation_config.json").write_text('{"temperature": 0.6, "top_p": 0.9}', "utf-8")
    assert any("(temperature 0.6, top_p 0.9)" in note for note in model_facts(model, n_parameters=1).notes)
    (model / "generation_config.json").write_text("no JSON", "utf-8")
    assert shipped_sampling(model) == {}
