"""A data set fetched from a hub on loopback: whole, by its commit, from the cache, and never more than wanted."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefloop.formats.guarded import Reading
from prefloop.hub_data import NoData, read_address
from tests.prefloop.model_sources.small_hub import COMMIT, SmallHub, small_hub

ROWS = [{"prompt": f"Q{i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(60)]


def quiet(done: int, total: int, what: str) -> None:
    pass


def parquet(rows: list[dict[str, str]], tmp_path: Path) -> bytes:
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "made.parquet")
    return (tmp_path / "made.parquet").read_bytes()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHub]:
    with small_hub() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("PREFLOOP_HUB_OFFLINE", "0")
        lines = "".join(json.dumps(row) + "\n" for row in ROWS[:5]).encode()
        served.repositories["datasets/acme/pairs"] = {
            "README.md": b"---\nlicense: mit\n---\nPairs.",
            "load.py": b"import os",
            "data/train-00000-of-00002.parquet": parquet(ROWS[:40], tmp_path),
            "data/train-00001-of-00002.parquet": parquet(ROWS[40:], tmp_path),
            "data/test-00000-of-00001.parquet": parquet(ROWS[:3], tmp_path),
            "small/train.jsonl.gz": gzip.compress(lines),
        }
        yield served


def texts(path: Path) -> list[str]:
    with Reading(path) as file:
        return [located.record.prompt for located in file.records()]


@pytest.mark.slow
def test_the_parts_of_a_split_are_one_table(hub: SmallHub, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    shares = []
    fetched = read_address("hf:acme/pairs").fetch(
        tmp_path / "out", told=lambda done, total, what: shares.append((done, total)), most_bytes=10**6
    )
    assert (fetched.commit, fetched.config, fetched.split) == (COMMIT, "default", "train")
    assert fetched.name == "acme-pairs-default-train"
    assert texts(fetched.path) == [row["prompt"] for row in ROWS]
    assert shares == sorted(shares)
    assert shares[-1][0] == shares[-1][1]
    assert not any("load.py" in path or "test-" in path for path in hub.asked if path.startswith("GET"))


@pytest.mark.slow
def test_one_file_is_a_file_and_comes_from_the_cache_the_second_time(
    hub: SmallHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    data = read_address(f"hf:acme/pairs@{COMMIT}:small")
    fetched = data.fetch(tmp_path / "first", told=quiet, most_bytes=10**6)
    assert fetched.path.name == "small-train.jsonl.gz"
    assert fetched.name == "acme-pairs-small-train.jsonl.gz"
    assert texts(fetched.path) == [row["prompt"] for row in ROWS[:5]]
    monkeypatch.setenv("PREFLOOP_HUB_OFFLINE", "1")
    hub.asked.clear()
    again = data.fetch(tmp_path / "second", told=quiet, most_bytes=10**6)
    assert again.path.read_bytes() == fetched.path.read_bytes()
    assert hub.asked == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("hf:acme/none", "there is no acme/none"),
        ("hf:acme/pairs@v9", "no revision 'v9'"),
        ("hf:acme/pairs:lost", "there is no 'lost' in it"),
        ("hf:acme/pairs:test", "MB, more than fit here"),
    ],
)
def test_what_can_not_come_is_said_and_nothing_is_left(address: str, says: str, hub: SmallHub, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(NoData, match=says):
        read_address(address).fetch(tmp_path / "out", told=quiet, most_bytes=100)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_a_damaged_part_is_refused(hub: SmallHub, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    hub.damaged.add("data/train-00001-of-00002.parquet")
    with pytest.raises(NoData, match="arrived damaged"):
        read_address("hf:acme/pairs").fetch(tmp_path / "out", told=quiet, most_bytes=10**6)
