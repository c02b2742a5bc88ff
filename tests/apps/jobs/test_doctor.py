"""`doctor` says what is missing and what to do about it."""

from __future__ import annotations

import json
import subprocess
from io import StringIO
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command

from apps.jobs import checks

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_accelerator(monkeypatch):
    """torch is asked in a process of its own, which takes seconds: here it has answered already."""
    answer = subprocess.CompletedProcess(args=[], returncode=0, stdout="\n", stderr="")
    monkeypatch.setattr(checks.subprocess, "run", lambda *args, **more: answer)


def found():
    out = StringIO()
    call_command("doctor", "--json", stdout=out)
    return {one["name"]: one for one in json.loads(out.getvalue())}


def test_what_is_there_is_said(settings, monkeypatch):
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: SimpleNamespace(free=50 * 1024**3))
    settings.ENDPOINT_ALLOW = ["127.0.0.1:11434"]
    said = found()
    assert said["disk"]["detail"].startswith("50.0 GiB")
    assert (said["database"]["state"], said["endpoints"]["detail"]) == ("ok", "127.0.0.1:11434")
    assert said["workers"]["remedy"] == "manage.py up"


def test_what_the_product_cannot_do_without_makes_it_fail(monkeypatch):
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: SimpleNamespace(free=1024**3))
    out = StringIO()
    with pytest.raises(CommandError, match="disk"):
        call_command("doctor", stdout=out)
    assert "MISSING  disk" in out.getvalue()
    assert "free at least 2 GiB" in out.getvalue()


def test_without_a_list_local_endpoints_are_named_with_the_setting(settings, monkeypatch):
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: SimpleNamespace(free=50 * 1024**3))
    settings.ENDPOINT_ALLOW = []
    assert "PREFLOOP_ENDPOINT_ALLOW" in found()["endpoints"]["remedy"]


@pytest.mark.parametrize(
    ("executor", "more", "state", "words"),
    [
        ("local", {}, "ok", "as a child of the worker"),
        ("slurm", {"SLURM_CLUSTER": "local"}, "note", "submitit's own local executor, no cluster"),
        ("slurm", {}, "missing", "this machine has no sbatch, srun, scancel, sacct"),
        ("ray", {"RAY_ADDRESS": "http://127.0.0.1:9"}, "missing", "http://127.0.0.1:9 does not answer"),
    ],
)
def test_the_executor_is_checked(executor, more, state, words, settings, monkeypatch):
    monkeypatch.setattr(checks.shutil, "which", lambda name: None)
    for name, value in ({"EXECUTOR": executor} | more).items():
        setattr(settings, name, value)
    said = checks._executor()
    assert (said.state, words in said.detail) == (state, True), said.detail


def test_an_executor_whose_extra_is_not_installed_names_it(settings, monkeypatch):
    settings.EXECUTOR = "ray"
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda name: None)
    said = checks._executor()
    assert (said.state, said.remedy) == ("missing", "pip install '.[ray]'")
