"""A model by its hub's name: one commit, safetensors and JSON only, through the cache; a hub on loopback answers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefloop.checkpoints import check_checkpoint_dir
from prefloop.model_sources import HubModel, read_source
from prefloop.model_sources.child import NoModel
from tests.prefloop.model_sources.small_hub import COMMIT, SmallHub, small_hub


def quiet(done: int, total: int, what: str) -> None:
    pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_policy_dir: Path) -> Iterator[SmallHub]:
    with small_hub() as served:
        for name, value in (
            ("HF_ENDPOINT", served.url),
            ("HF_HOME", str(tmp_path / "home")),
            ("HF_TOKEN", "hf_secret"),
        ):
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PREFLOOP_HUB_OFFLINE", "0")
        served.add("acme/tiny", tiny_policy_dir, pytorch_model__bin=b"a pickle" * 1000, code__py=b"import os")
        yield served


@pytest.mark.slow
@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}"])
def test_it_arrives_whole_without_pickles_and_code(
    revision: str, hub: SmallHub, tmp_path: Path, tiny_policy_dir: Path
) -> None:
    shares = []
    told = lambda done, total, what: shares.append((done, total))  # noqa: E731
    origin = read_source(f"hf:acme/tiny{revision}").unpack(tmp_path / "out", told=told)
    assert origin == {"imported_from": "hf:acme/tiny", "revision": COMMIT}
    check_checkpoint_dir(tmp_path / "out")
    for file in (tmp_path / "out").iterdir():
        assert file.read_bytes() == (tiny_policy_dir / file.name).read_bytes()
        assert not file.is_symlink()
    assert (tmp_path / "out" / "model.safetensors").exists()
    assert not any(path.endswith((".bin", ".py")) for path in hub.asked)
    assert shares == sorted(shares)
    assert shares[-1][0] == shares[-1][1] > 1
    assert "Bearer hf_secret" in hub.tokens


@pytest.mark.slow
def test_a_look_fetches_no_weights(hub: SmallHub, tiny_policy_dir: Path) -> None:
    facts = read_source("hf:acme/tiny@main").look()
    assert (facts.architecture, facts.has_tokenizer, facts.has_chat_template) == ("qwen2", True, True)
    config = json.loads((tiny_policy_dir / "config.json").read_text("utf-8"))
    assert config["dtype"] == "float32"
    size = (tiny_policy_dir / "model.safetensors").stat().st_size
    assert size * 0.9 < 4 * facts.n_parameters <= size  # the file less its header
    assert f"commit {COMMIT}" in facts.notes[0]
    assert not any(path.startswith("GET") and "safetensors" in path for path in hub.asked)


@pytest.mark.slow
def test_what_was_fetched_once_comes_from_the_cache(
    hub: SmallHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_source("hf:acme/tiny").unpack(tmp_path / "first", told=quiet)
    hub.asked.clear()
    read_source("hf:acme/tiny").unpack(tmp_path / "second", told=quiet)
    assert not any(path.startswith("GET") and "/resolve/" in path for path in hub.asked)
    hub.asked.clear()
    monkeypatch.setenv("PREFLOOP_HUB_OFFLINE", "1")
    read_source("hf:acme/tiny").unpack(tmp_path / "third", told=quiet)
    assert hub.asked == []
    with pytest.raises(NoModel, match="not in the hub's cache"):
        read_source("hf:acme/other").unpack(tmp_path / "fourth", told=quiet)
    assert not (tmp_path / "fourth").exists()


@pytest.mark.slow
def test_a_hub_that_is_gone_leaves_the_cache(hub: SmallHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_source("hf:acme/tiny").unpack(tmp_path / "first", told=quiet)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody answers there
    read_source("hf:acme/tiny").unpack(tmp_path / "second", told=quiet)
    assert (tmp_path / "second" / "model.safetensors").is_file()


@pytest.mark.slow
def test_damaged_weights_are_refused_and_asked_for_again(hub: SmallHub, tmp_path: Path) -> None:
    hub.damaged.add("model.safetensors")
    with pytest.raises(NoModel, match="arrived damaged"):
        read_source("hf:acme/tiny").unpack(tmp_path / "out", told=quiet)
    assert not (tmp_path / "out").exists()
    hub.damaged.clear()
    read_source("hf:acme/tiny").unpack(tmp_path / "out", told=quiet)
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "why"), [("acme/none", "there is no acme/none"), ("acme/tiny@v9", "no revision 'v9'")]
)
def test_what_is_not_there_is_said(name: str, why: str, hub: SmallHub, tmp_path: Path) -> None:
    with pytest.raises(NoModel, match=why):
        read_source(f"hf:{name}").unpack(tmp_path / "out", told=quiet)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_end_asked_for_in_the_middle_ends_the_process(hub: SmallHub, tmp_path: Path) -> None:
    def told(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_source("hf:acme/tiny").unpack(tmp_path / "out", told=told)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["tiny", "acme/", "acme/../x", "a/b/c", "acme/tiny@", "acme/ti ny", "-x/y", "acme/x--y"]
)
def test_a_name_that_no_hub_has_is_refused(name: str) -> None:
    with pytest.raises(NoModel, match="is not a hub's name"):
        read_source(f"hf:{name}")


def test_without_a_revision_it_is_the_main_branch() -> None:
    assert read_source(" hf:acme/tiny ") == HubModel("acme/tiny", "main")
    assert read_source("hf:acme/tiny@refs/pr/1").name == "hf:acme/tiny@refs/pr/1"
    assert os.environ.get("HF_HUB_OFFLINE") == "1"  # of this process: only the one that fetches is online
