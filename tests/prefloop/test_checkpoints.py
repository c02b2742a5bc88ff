from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from pathlib import Path

import pytest

from prefloop.checkpoints import (
    DamagedCheckpoint,
    UnsafeCheckpoint,
    check_checkpoint_dir,
    fingerprint,
    publish,
    verify_manifest,
    write_manifest,
)


def _safetensors(values: list[float]) -> bytes:
    data = struct.pack(f"<{len(values)}f", *values)
    header = json.dumps({"w": {"dtype": "F32", "shape": [len(values)], "data_offsets": [0, len(data)]}}).encode()
    return len(header).to_bytes(8, "little") + header + data


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text('{"model_type": "qwen2"}')
    (directory / "tokenizer.json").write_text('{"model": {"vocab": {"auto_map": 1}}}')
    (directory / "model.safetensors").write_bytes(_safetensors([1.0, 2.0]))
    return directory


class _Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_plain_safetensors_and_json_are_accepted(model: Path) -> None:
    check_checkpoint_dir(model)


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "optimizer.pt", "rng_state.pth", "x.PKL", "last.ckpt", "deep/er/a.pt"]
)
def test_a_pickle_is_refused_by_name_and_never_read(model: Path, tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    file = model / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pickle.dumps(_Canary(canary)))
    file.chmod(0)  # reading it would fail
    with pytest.raises(UnsafeCheckpoint, match=file.name):
        check_checkpoint_dir(model)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize(
    "content",
    [
        {"auto_map": {"AutoModel": "modeling.X"}},
        {"a": [{"trust_remote_code": True}]},
        {"attn_implementation": "evil/kernel"},
        {"text_config": {"_attn_implementation": "evil/kernel:main"}},
        {"_attn_implementation_internal": {"text_config": "sdpa", "vision_config": "kernels-community/x"}},
    ],
)
def test_a_config_that_asks_for_code_is_refused(model: Path, name: str, content: object) -> None:
    (model / name).write_text(json.dumps(content))
    with pytest.raises(UnsafeCheckpoint, match=name):
        check_checkpoint_dir(model)


def test_code_links_out_and_missing_files_are_refused(model: Path, tmp_path: Path) -> None:
    (model / "modeling_x.py").write_text("")
    with pytest.raises(UnsafeCheckpoint, match=r"modeling_x\.py is code"):
        check_checkpoint_dir(model)
    (model / "modeling_x.py").unlink()
    (tmp_path / "secret.json").write_text("{}")
    (model / "extra.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(UnsafeCheckpoint, match=r"extra\.json is a link"):
        check_checkpoint_dir(model)
    (model / "extra.json").unlink()
    (model / "model.safetensors").unlink()
    with pytest.raises(UnsafeCheckpoint, match=r"model\.safetensors is missing"):
        check_checkpoint_dir(model)
    with pytest.raises(UnsafeCheckpoint, match="not a directory"):
        check_checkpoint_dir(tmp_path / "nowhere")


def test_a_link_to_a_folder_outside_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (model / "sub").symlink_to(tmp_path / "other")
    with pytest.raises(UnsafeCheckpoint, match="sub is a link"):
        check_checkpoint_dir(model)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        (2**63).to_bytes(8, "little") + b"{}",
        pickle.dumps({"w": 1}),
        (2).to_bytes(8, "little") + b"[]",
        _safetensors([1.0])[:-1],
        _safetensors([1.0]) + b"hidden",
        _safetensors([1.0]).replace(b'"F32"', b'"F64"'),
    ],
)
def test_a_lying_safetensors_header_is_a_clean_error(model: Path, content: bytes) -> None:
    (model / "model.safetensors").write_bytes(content)
    with pytest.raises(UnsafeCheckpoint, match="not a valid safetensors"):
        check_checkpoint_dir(model)


def test_a_chat_template_named_like_a_path_is_refused(model: Path) -> None:
    (model / "tokenizer_config.json").write_text(json.dumps({"chat_template": [{"name": "../x", "template": ""}]}))
    with pytest.raises(UnsafeCheckpoint, match="chat template"):
        check_checkpoint_dir(model)


def test_the_fingerprint_follows_weights_config_and_tokenizer_only(model: Path, tmp_path: Path) -> None:
    before = fingerprint(model)
    moved = tmp_path / "elsewhere"
    shutil.copytree(model, moved)
    (moved / "README.md").write_text("other words")
    (moved / "optimizer.safetensors").write_bytes(_safetensors([9.0]))
    assert fingerprint(moved) == before
    for name, content in [
        ("config.json", b"{}"),
        ("tokenizer.json", b"{}"),
        ("model.safetensors", _safetensors([3.0])),
    ]:
        changed = tmp_path / name
        shutil.copytree(model, changed)
        (changed / name).write_bytes(content)
        assert fingerprint(changed) != before


def test_a_published_checkpoint_verifies_and_is_never_overwritten(model: Path, tmp_path: Path) -> None:
    final = tmp_path / "checkpoints" / "step-000020"
    manifest = publish(model, final, step=20, config_hash="c", parent="p", extra={"run": 3})
    assert not model.exists()
    assert verify_manifest(final) == manifest
    assert (manifest["step"], manifest["extra"]) == (20, {"run": 3})
    assert {entry["name"] for entry in manifest["files"]} == {"config.json", "tokenizer.json", "model.safetensors"}
    other = tmp_path / "other"
    shutil.copytree(final, other)
    with pytest.raises(FileExistsError):
        publish(other, final)


def test_every_difference_from_the_manifest_is_named(model: Path) -> None:
    with pytest.raises(DamagedCheckpoint, match="no manifest"):
        verify_manifest(model)
    write_manifest(model, step=1)
    weights = model / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + b"\x00")
    with pytest.raises(DamagedCheckpoint, match=r"model\.safetensors in model differs"):
        verify_manifest(model)
    weights.unlink()
    with pytest.raises(DamagedCheckpoint, match=r"is missing model\.safetensors"):
        verify_manifest(model)
    weights.write_bytes(content)
    verify_manifest(model)
    (model / "late.json").write_text("{}")
    with pytest.raises(DamagedCheckpoint, match=r"holds late\.json"):
        verify_manifest(model)
    (model / "manifest.json").write_text("{")
    with pytest.raises(DamagedCheckpoint, match="cannot be read"):
        verify_manifest(model)


def test_a_tokenizer_is_known_by_what_it_does_and_not_by_how_it_is_written(tmp_path: Path) -> None:
    from prefloop.checkpoints import tokenizer_hash

    content = {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}, "added_tokens": [], "padding": None}
    other = {**content, "model": {"type": "BPE", "vocab": {"b": 0, "a": 1}, "merges": []}}
    texts = {
        "plain": json.dumps(content),
        "indented": json.dumps({**content, "padding": {"length": 8}}, indent=2, sort_keys=True),
        "other": json.dumps(other),
    }
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer.json").write_text(text)
    hashes = {name: tokenizer_hash(tmp_path / name) for name in texts}
    assert hashes["plain"] == hashes["indented"] != hashes["other"]
    assert tokenizer_hash(tmp_path) == ""
    (tmp_path / "tokenizer.model").write_bytes(b"pieces")
    assert len(tokenizer_hash(tmp_path)) == 64
