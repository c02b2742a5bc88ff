"""Several processes of one machine share its cache: what one gives up, another may use, or give up, at that moment."""

from __future__ import annotations

import os
import time

import pytest

from prefloop.store.cache import GRACE_SECONDS, Cache, holding


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", tmp_path / "store", 0)


@pytest.fixture
def stored(cache, tmp_path):
    """stored(name): an artifact that was not used for a long time, the later ones for less long."""
    before = time.time() - 3 * GRACE_SECONDS

    def make(name):
        place = tmp_path / "store" / name
        place.mkdir(parents=True)
        (place / "weights").write_text(name)
        cache.remark(place, versions=("v",), n_bytes=7)
        unused(cache, place, before)
        return place

    return make


def unused(cache, place, when=0.0):
    os.utime(cache._mark_path(place).with_suffix(".lock"), (when, when))


def meanwhile(monkeypatch, cache, act):
    """Let something happen while the first artifact is removed."""
    removed = []

    def remove(place):
        Cache._remove(cache, place)
        if not removed:
            act()
        removed.append(place)

    monkeypatch.setattr(cache, "_remove", remove)


def test_what_is_used_while_another_is_removed_stays(cache, stored, monkeypatch):
    first, second = stored("a"), stored("b")
    meanwhile(monkeypatch, cache, lambda: cache.hold(second))
    cache.evict()
    assert not first.exists()
    assert cache.has(second, "v")


def test_what_another_process_removes_meanwhile_is_no_error(cache, stored, monkeypatch, tmp_path):
    first, second = stored("a"), stored("b")
    meanwhile(monkeypatch, cache, Cache(tmp_path / "cache", tmp_path / "store", 0).evict)
    cache.evict()
    assert not first.exists()
    assert not second.exists()


def test_what_is_held_within_an_artifact_that_came_later_stays(cache, stored):
    inner = stored("run/final")
    with holding():
        cache.hold(inner)
        cache.remark(inner.parent, versions=("v",), n_bytes=7)
        for place in (inner, inner.parent):
            unused(cache, place)
        cache.evict()
        assert cache.has(inner, "v")
    cache.evict()
    assert not inner.exists()
