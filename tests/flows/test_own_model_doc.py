"""docs/own-model.md, command by command as it stands, on a tiny model of random weights."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from django.core.management import call_command
from django.utils import timezone

from apps.labels.services import preferences_derive
from apps.projects.models import Project, Role
from apps.projects.services import member_add
from apps.samples.models import Comparison
from apps.training.models import Loop

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "own-model.md").read_text("utf-8")
MODEL = "/models/chat-0.5b"


def commands() -> list[list[str]]:
    return [shlex.split(line)[2:] for line in PAGE.splitlines() if line.startswith("python manage.py ")]


def test_every_command_of_the_page_does_what_it_says(
    tmp_path, settings, monkeypatch, make_vote, make_user, client_for, capsys
):
    from tests.prefloop.tiny import save_tiny_policy

    settings.STORE_DIR = tmp_path / "store"
    model = save_tiny_policy(tmp_path / "chat", seed=0, chat=True)
    rows = re.search(r"^```json\n(.*?)^```", PAGE, re.M | re.S)
    assert rows is not None
    (tmp_path / "prompts.jsonl").write_text(rows[1], "utf-8")
    monkeypatch.chdir(tmp_path)
    assert [words[0] for words in commands()] == [
        "import_records", "import_checkpoint", "import_checkpoint", "sample", "run_recipe"
    ]  # fmt: skip
    for words in commands():
        if words[0] == "run_recipe":  # labelled before it, as the page says
            project = Project.objects.get(slug="mine")
            for comparison in Comparison.objects.filter(project=project):
                make_vote(comparison, "first")
            preferences_derive(project=project, now=timezone.now())
        call_command(*[str(model) if word == MODEL else word for word in words])
        if words[0] == "sample":
            assert 0 < Comparison.objects.count() <= 8
            assert "/p/mine/annotate/" in capsys.readouterr().out
    loop = Loop.objects.get()
    assert loop.state == "done"
    # there is no judge here: the JSON and the page say that there is no win rate
    result = loop.rounds.get(index=1).result
    assert (result["win_rate_vs_initial"], result["measured_by"]) == (None, None)
    bob = make_user("bob")
    member_add(project=loop.project, user=bob, role=Role.LEAD, actor=None)
    page = client_for(bob).get(f"/p/mine/loops/{loop.pk}/").content.decode()
    assert "No win rate: no judge compares the answers." in page
