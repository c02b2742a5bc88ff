"""A GGUF file becomes a plain model directory with the numbers and the tokenizer that are in it."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest

from prefloop.checkpoints import check_checkpoint_dir
from prefloop.model_sources import Directory, GgufFile, read_source
from prefloop.model_sources.child import NoModel
from tests.prefloop.model_sources.gguf_files import policy_with_merges, write_gguf

TEXT = "Zażółć  gęślą\n\njaźń 123, the thing<|im_end|>"


def quiet(done: int, total: int, what: str) -> None:
    pass


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["F32", "Q8_0", "Q4_1"])
def test_its_weights_tokenizer_and_template_are_those_of_the_file(kind: str, tmp_path: Path) -> None:
    from safetensors.numpy import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    policy = policy_with_merges()
    meant = write_gguf(tmp_path / "tiny.gguf", policy, kind=gguf.GGMLQuantizationType[kind])
    source = read_source(tmp_path / "tiny.gguf")
    assert isinstance(source, GgufFile)
    said: list[str] = []
    origin = source.unpack(tmp_path / "out", told=lambda done, total, what: said.append(what))
    assert origin == {"imported_from": "tiny.gguf", "quantised": "not" if kind == "F32" else kind}
    assert said == ["reading the tokenizer", "reading the weights", "writing the model"]
    check_checkpoint_dir(tmp_path / "out")
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert weights.keys() == meant.keys()
    assert all((weights[name] == meant[name]).all() for name in meant)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer(TEXT).input_ids == policy.tokenizer(TEXT).input_ids
    assert (tokenizer.eos_token, tokenizer.chat_template) == (
        policy.tokenizer.eos_token,
        policy.tokenizer.chat_template,
    )
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert not hasattr(model.config, "quantization_config")
    model.save_pretrained(tmp_path / "again")  # what transformers refuses for a model that counts as quantised


@pytest.mark.slow
def test_a_look_says_what_it_is_without_loading_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_with_merges()
    write_gguf(tmp_path / "tiny.gguf", policy, kind=gguf.GGMLQuantizationType.Q8_0)
    monkeypatch.chdir(tmp_path)
    facts = read_source("tiny.gguf").look()  # as a person names it on the command line
    assert facts.n_parameters == sum(one.numel() for one in policy.model.parameters())
    assert (facts.architecture, facts.has_tokenizer, facts.has_chat_template) == ("qwen2", True, True)
    assert "quantised (Q8_0)" in facts.notes[0]


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF\x03\0\0\0" + b"\xff" * 64, b"PK\x03\x04" + bytes(100)])
def test_what_is_no_gguf_file_is_refused_and_nothing_is_left(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(content)
    with pytest.raises(Exception, match=r"GGUF|bad\.gguf") as refusal:
        read_source(tmp_path / "bad.gguf").unpack(tmp_path / "out", told=quiet)
    assert refusal.type.__module__.startswith("prefloop.")
    assert not (tmp_path / "out").exists()


def test_a_directory_may_end_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").mkdir()
    assert read_source(tmp_path / "model.gguf") == Directory(tmp_path / "model.gguf")
    with pytest.raises(NoModel, match="there is no file"):
        read_source(tmp_path / "none.gguf").look()
