"""Policies that a run keeps on the way, to be measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from prefloop.checkpoints import verify_manifest
from prefloop.engine import train
from prefloop.policy.loading import load_policy
from prefloop.recipes.runspec import kept_dirs, read_spec

MakeRun = Callable[..., Path]
Story = Callable[[Path], tuple[list[tuple[int, dict[str, float]]], str]]


@pytest.mark.slow
def test_policies_that_are_kept_on_the_way_stay_and_change_nothing(make_run: MakeRun, story: Story) -> None:
    plain, keeping = make_run("plain"), make_run("keeping", keep_every=2, save_every=1, keep_last=1)
    for run_dir in (plain, keeping):
        assert train.run(run_dir).exit_code == 0
    assert story(keeping) == story(plain)
    assert read_spec(keeping).config_hash() == read_spec(plain).config_hash()
    assert not kept_dirs(plain)
    kept = kept_dirs(keeping)
    assert list(kept) == [2, 4]  # of 5 steps: the last is the result
    marks = {verify_manifest(path)["fingerprint"] for path in (*kept.values(), keeping / "final")}
    assert len(marks) == 3
    assert not (kept[2] / "training").exists()
    assert load_policy(kept[2]).fingerprint in marks
