from __future__ import annotations

import json

import pytest


def _safetensors(path):
    """Write a valid safetensors file of one 2×3 matrix by hand: eight bytes of length, a header, the numbers."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))


@pytest.fixture
def store(settings, tmp_path):
    """A store and an import directory of this test's own."""
    settings.STORE_DIR = tmp_path / "store"
    settings.IMPORT_DIRS = [tmp_path / "imports"]
    (tmp_path / "imports" / "projects" / "letters-test").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def model_dir(store):
    """model_dir("name"): a model directory that the project `letters-test` may import."""

    def make(name="tiny", *, under="imports/projects/letters-test"):
        folder = store / under / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}))
        _safetensors(folder / "model.safetensors")
        return folder

    return make
