"""Artifacts move between machines whole or not at all, through a real S3 server on loopback."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import time

import pytest

from prefloop.store import DamagedArtifact, NotStored, Remote, Store, StoreUnavailable, holding, transfer
from tests.s3 import BUCKET, opened_s3

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def _server():
    with opened_s3() as server:
        yield server


@pytest.fixture
def s3(_server, monkeypatch):
    for name, value in _server.environment.items():
        monkeypatch.setenv(name, value)
    _server.ask = lambda method, path: ""
    for key in _server.held():
        _server.client.delete_object(Bucket=BUCKET, Key=key)
    _server.asked.clear()
    return _server


@pytest.fixture
def host(s3, tmp_path, monkeypatch):
    """`host("name")`: the store as one machine sees it."""
    monkeypatch.setattr(transfer, "CHUNK_BYTES", 1000)

    def opened(name, *, most_bytes=10**9, waits=(0.0, 0.0, 0.0)):
        home = tmp_path / name
        remote = Remote(s3.url, waits=waits)
        return Store(home / "store", remote=remote, prefix="store", cache=(home / "cache", most_bytes))

    return opened


def write(store, name, files):
    for file, content in files.items():
        path = store.path(name) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def read(path):
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


WEIGHTS = {"model.safetensors": os.urandom(4500), "config.json": b"{}", "adapter/notes.md": b"", "same": b"{}"}


def test_an_artifact_made_on_one_machine_is_the_same_on_another(host, s3):
    one, two = host("one"), host("two")
    write(one, "p/checkpoints/a", WEIGHTS)
    one.push("p/checkpoints/a", "v1")
    assert read(two.fetch("p/checkpoints/a", "v1")) == WEIGHTS
    assert two.path("p/checkpoints/a") == two.root / "p" / "checkpoints" / "a"
    (one.root / "p" / "rows.jsonl").write_bytes(b"a row\n")
    one.push("p/rows.jsonl", "v")
    assert two.fetch("p/rows.jsonl", "v").read_bytes() == b"a row\n"
    asked = sum(s3.asked.values())
    assert two.has("p/checkpoints/a", "v1")
    two.fetch("p/checkpoints/a", "v1")
    assert sum(s3.asked.values()) == asked, "what is here is not asked for"
    assert two.files("p/checkpoints/a", "v1") == {name: len(content) for name, content in WEIGHTS.items()}


def test_a_store_that_is_a_directory_moves_nothing(tmp_path):
    store = Store(tmp_path / "store")
    write(store, "a", {"file": b"1"})
    store.push("a", "v1")
    assert store.fetch("a", "any version") == store.outline("a") == tmp_path / "store" / "a"
    assert store.read("a", "", "file") == b"1"
    assert (store.files("a"), store.files("b")) == ({"file": 1}, {})
    store.probe()
    assert store.sweep() == (0, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b"])
def test_a_name_does_not_lead_out_of_the_store(tmp_path, name):
    with pytest.raises(NotStored):
        Store(tmp_path / "store").path(name)


def test_what_the_store_says_may_not_lead_out_of_an_artifact(host, s3):
    one = host("one")
    write(one, "a", {"file": b"1"})
    one.push("a", "v")
    (key,) = s3.held("names")
    body = s3.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    for bad in (b'"../../file"', b'"/tmp/file"'):
        s3.client.put_object(Bucket=BUCKET, Key=key, Body=body.replace(b'"file"', bad))
        with pytest.raises(DamagedArtifact):
            host("two").fetch("a", "v")


def test_nothing_is_visible_until_everything_has_arrived(host, s3):
    one, two = host("one"), host("two")
    write(one, "a", WEIGHTS)
    stored = set()

    def ends(method, path):
        if method != "PUT" or len(stored) == 3:
            return "unavailable" if method == "PUT" else ""
        stored.add(path)
        return ""

    s3.ask = ends
    with pytest.raises(StoreUnavailable):
        one.push("a", "v")
    with pytest.raises(NotStored):
        two.fetch("a", "v")
    s3.ask = lambda method, path: ""
    s3.asked.clear()
    one.push("a", "v")
    assert not [path for method, path in s3.asked if method == "PUT" and path in stored], "stored before"
    assert read(two.fetch("a", "v")) == WEIGHTS


def test_a_fetch_that_was_ended_goes_on_where_it_was(host, s3):
    one, two = host("one"), host("two")
    write(one, "a", {"model.safetensors": os.urandom(20_000)})
    one.push("a", "v")
    s3.asked.clear()
    n_chunks = 0

    def ends(method, path):
        nonlocal n_chunks
        n_chunks += method == "GET" and "/chunks/" in path
        return "unavailable" if n_chunks > 12 else ""

    s3.ask = ends
    with pytest.raises(StoreUnavailable):
        two.fetch("a", "v")
    assert not two.path("a").exists()
    time.sleep(0.2)  # its threads leave
    s3.ask = lambda method, path: ""
    s3.asked.clear()
    assert read(two.fetch("a", "v")) == read(one.path("a"))
    assert len([path for method, path in s3.asked if method == "GET" and "/chunks/" in path]) <= 12


@pytest.mark.parametrize("wrong", ["unavailable", "half", "other"])
def test_a_store_that_fails_now_and_then_gives_the_same(host, s3, wrong):
    one, two = host("one"), host("two")
    write(one, "a", WEIGHTS)
    seen = set()

    def once(method, path):
        new = (method, path) not in seen
        seen.add((method, path))
        return wrong if new else ""

    s3.ask = once
    one.push("a", "v")
    assert read(two.fetch("a", "v")) == WEIGHTS


def test_content_that_is_never_what_was_stored_is_refused(host, s3):
    one, two = host("one"), host("two")
    write(one, "a", WEIGHTS)
    one.push("a", "v")
    for key in s3.held("chunks"):
        size = s3.client.head_object(Bucket=BUCKET, Key=key)["ContentLength"]
        s3.client.put_object(Bucket=BUCKET, Key=key, Body=bytes(size))
    with pytest.raises(DamagedArtifact, match="another content"):
        two.fetch("a", "v")
    assert not two.path("a").exists()
    for key in s3.held("chunks"):
        s3.client.delete_object(Bucket=BUCKET, Key=key)
    with pytest.raises(DamagedArtifact, match="lost"):
        two.fetch("a", "v")


def test_another_version_replaces_what_lies_here_and_what_was_never_stored(host):
    one, two = host("one"), host("two")
    write(one, "a", {"file": b"first"})
    one.push("a", "v1")
    assert read(two.fetch("a", "v1")) == {"file": b"first"}
    write(two, "a", {"file": b"second", "more": b""})
    two.push("a", "v2")
    assert read(one.fetch("a", "v2")) == {"file": b"second", "more": b""}
    three = host("three")
    write(three, "a", {"half": b"of an attempt that was killed"})
    assert read(three.fetch("a", "v2")) == {"file": b"second", "more": b""}


def test_without_a_version_the_newest_content_is_fetched(host):
    one, two = host("one"), host("two")
    write(one, "u", {"file": b"first"})
    one.push("u")
    assert read(two.fetch("u")) == {"file": b"first"}
    write(one, "u", {"file": b"second"})
    one.push("u")
    assert read(two.fetch("u")) == {"file": b"second"}
    one.drop("u")
    with pytest.raises(NotStored):
        two.fetch("u")


def test_a_directory_that_changes_stays_and_its_newer_state_counts(host, s3):
    one, two = host("one", most_bytes=0), host("two", most_bytes=0)
    write(one, "run", {"events.jsonl": b"1\n", "step-1/model.safetensors": os.urandom(3000)})
    one.push("run", "v1", changes=True)
    with (one.path("run") / "events.jsonl").open("ab") as log:
        log.write(b"2\n")
    s3.asked.clear()
    one.push("run", "v2", changes=True)
    assert len([path for method, path in s3.asked if method == "PUT" and "/chunks/" in path]) == 1, "the log alone"
    with (one.path("run") / "events.jsonl").open("ab") as log:
        log.write(b"3\n")
    assert one.fetch("run", "v2", changes=True).joinpath("events.jsonl").read_bytes() == b"1\n2\n3\n"
    assert two.fetch("run", "v2", changes=True).joinpath("events.jsonl").read_bytes() == b"1\n2\n"
    make_old(one)
    one._cache.evict()
    assert one.path("run").exists()
    assert one.changing() == ["run"]
    make_old(one)
    one.settle("run")
    assert one.changing() == []
    make_old(one)
    one._cache.evict()
    assert not one.path("run").exists()


def test_one_file_and_its_end_are_read_without_the_rest(host, s3, monkeypatch):
    monkeypatch.setattr(transfer, "GROWING_BYTES", 10)
    one, two = host("one"), host("two")
    write(one, "run", {"train.log": b"0123456789abcdefghij-the end", "model.safetensors": os.urandom(5000)})
    one.push("run", "v", changes=True)
    s3.asked.clear()
    assert two.read("run", "v", "train.log", last=9) == b"j-the end"[-9:]
    assert two.read("run", "v", "train.log", last=1000) == b"0123456789abcdefghij-the end"
    assert two.read("run", "v", "train.log") == b"0123456789abcdefghij-the end"
    assert two.read("run", "v", "train.log", last=7) == b"the end"
    assert not two.path("run").exists()
    with pytest.raises(FileNotFoundError):
        two.read("run", "v", "none.log")
    with pytest.raises(FileNotFoundError):
        two.read("none", "v", "none.log")


def test_an_outline_has_everything_but_the_weights(host):
    one, two = host("one"), host("two")
    write(one, "a", WEIGHTS)
    one.push("a", "v")
    assert read(two.outline("a", "v")) == {name: body for name, body in WEIGHTS.items() if name != "model.safetensors"}
    assert not two.path("a").exists()
    assert two.fetch("a", "v") == two.outline("a", "v") == two.path("a")


def make_old(store):
    before = time.time() - 100_000
    for path in (store._cache.folder / "marks").iterdir():
        os.utime(path, (before, before))


def test_the_cache_gives_up_what_was_not_used_longest_but_nothing_that_is_in_use_or_was_not_stored(host):
    one, two = host("one"), host("two", most_bytes=2500)
    for name in "abcd":
        write(one, name, {"file": os.urandom(1000)})
        one.push(name, "v")
    write(two, "mine", {"file": os.urandom(5000)})
    with holding():
        two.fetch("a", "v")
        two.fetch("a", "v")
        make_old(two)
        with holding():
            two.fetch("b", "v")
        make_old(two)
        two.fetch("c", "v")
        assert [name for name in ("a", "b", "c", "mine") if two.path(name).exists()] == ["a", "c", "mine"]
    two.fetch("d", "v")
    assert [name for name in "abcd" if two.path(name).exists()] == ["c", "d"], "used minutes ago"
    two.fetch("b", "v")
    assert [name for name in "abcd" if two.path(name).exists()] == ["b", "c", "d"], "used minutes ago, too"
    make_old(two)
    two.fetch("b", "v")
    two._cache.evict()
    assert [name for name in "abcd" if two.path(name).exists()] in (["b", "c"], ["b", "d"])
    assert read(two.fetch("a", "v")) == read(one.path("a"))


def test_what_is_within_an_artifact_is_given_up_with_it(host):
    store = host("one", most_bytes=0)
    write(store, "run", {"events.jsonl": b"1\n", "final/model.safetensors": os.urandom(10)})
    store.push("run", "v", changes=True)
    store.push("run/final", "f")
    store.settle("run")
    make_old(store)
    with holding():
        store.fetch("run/final", "f")
        make_old(store)
        store._cache.evict()
        assert store.path("run/final").exists()
    store._cache.evict()
    assert not store.path("run").exists()
    assert read(store.fetch("run/final", "f")).keys() == {"model.safetensors"}


def test_files_that_are_removed_while_they_are_stored_are_stored(host, monkeypatch):
    one, two = host("one"), host("two")
    write(one, "run", {"a": b"1", "step-1/model.safetensors": os.urandom(3000)})
    kept = read(one.path("run"))
    put = Remote.put

    def removes(self, key, content, **more):
        shutil.rmtree(one.path("run") / "step-1", ignore_errors=True)
        put(self, key, content, **more)

    monkeypatch.setattr(Remote, "put", removes)
    one.push("run", "v", changes=True)
    assert read(two.fetch("run", "v")) == kept


def test_a_sweep_removes_what_no_name_needs(host, s3):
    one = host("one")
    write(one, "a", {"file": os.urandom(1500)})
    write(one, "b", {"file": os.urandom(1500), "shared": (one.path("a") / "file").read_bytes()})
    one.push("a", "v")
    one.push("b", "v")
    one.drop("b", "v")
    assert one.sweep() == (0, 0), "younger than a day"
    assert one.sweep(older_than=dt.timedelta(0)) == (2, 1500)
    assert read(host("two").fetch("a", "v")) == read(one.path("a"))


def test_a_probe_says_what_is_wrong(host, s3):
    host("one").probe()
    assert s3.held("probes") == []
    s3.ask = lambda method, path: "unavailable"
    with pytest.raises(StoreUnavailable, match=r"s3://prefloop/\w+: writing probes/.* failed"):
        host("one").probe()
