"""Named criteria in files: what is said by each is written and read without loss, and nothing is taken for another."""

from __future__ import annotations

import json

import pytest
from django.core.management import call_command

from apps.exchange.exports import export_lines
from apps.exchange.left_out import left_out
from apps.labels.models import Judge, Vote
from apps.labels.selectors import preferences
from apps.projects.services import project_create
from prefloop.records import RecordsError
from prefloop.types import PrefloopError

PAIR = {"pair": [0, 1]}


@pytest.fixture
def record():
    return {
        "id": "1",
        "prompt": "Write to Maria.",
        "completions": [{"text": "Dear Maria."}, {"text": "Hey."}],
        "votes": [
            {"rater": "ann", **PAIR, "choice": 0},
            {"rater": "ann", **PAIR, "criterion": "honest", "choice": 1},
            {"rater": "ann", **PAIR, "criterion": "helpful", "choice": "tie"},
        ],
        "verdicts": [
            {"judge": "strict", "criterion": "harmless", **PAIR, "order": [0, 1], "choice": 1, "p_first": 0.2},
            {"judge": "plain", **PAIR, "order": [0, 1], "choice": 0},
        ],
        "overrides": [{"rater": "lead", "judge": "strict", "criterion": "harmless", **PAIR, "choice": "tie"}],
        "scores": [{"judge": "strict", "criterion": "harmless", "completion": 0, "value": 3.0}],
    }


def labels(project):
    rows = preferences(None).filter(comparison__project=project).order_by("criterion")
    return [(row.criterion, row.outcome, row.source) for row in rows]


@pytest.mark.slow
def test_it_comes_and_goes_without_loss_and_a_second_time_adds_nothing(project, bring, write_lines, record):
    bring(write_lines([record]))
    said = [
        ("", "first", "human"),
        ("harmless", "tie", "override"),
        ("helpful", "tie", "human"),
        ("honest", "second", "human"),
    ]
    assert labels(project) == said
    project.refresh_from_db()
    assert set(project.known_criteria) == {"helpful", "honest", "harmless"}
    assert Judge.objects.get(name="strict").criterion_name == "harmless"
    lines = list(export_lines(project=project, format="records"))
    written = json.loads(lines[0])
    assert [vote.get("criterion") for vote in written["votes"]] == [None, "honest", "helpful"]
    assert [one.get("criterion") for one in written["verdicts"]] == ["harmless", None]
    assert (written["overrides"][0]["criterion"], written["scores"][0]["criterion"]) == ("harmless", "harmless")
    path = write_lines([json.loads(line) for line in lines])
    bring(path)
    assert (Vote.objects.count(), labels(project)) == (3, said)
    other = project_create(name="Other", owner=None)
    bring(path, project=other)
    assert labels(other) == said
    assert list(export_lines(project=other, format="records")) == lines


@pytest.mark.slow
def test_a_later_file_adds_a_vote_by_another_criterion_and_replaces_none(project, bring, write_lines, record):
    only = {key: record[key] for key in ("id", "prompt", "completions")}
    bring(write_lines([only | {"votes": record["votes"][:1]}]))
    bring(write_lines([only | {"votes": record["votes"]}]))
    assert not Vote.objects.exclude(supersedes=None).exists()
    assert [name for name, *_ in labels(project)] == ["", "helpful", "honest"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"votes": [{"rater": "ann", **PAIR, "criterion": "So Honest", "choice": 0}]}, "is no name of a criterion"),
        ({"overrides": [{"rater": "x", **PAIR, "criterion": "honest", "choice": 0}]}, "but no judge"),
        (
            {"scores": [{"judge": "strict", "criterion": "honest", "completion": 0, "value": 3.0}]},
            "judge 'strict' judges by criterion 'harmless' and by 'honest'",
        ),
    ],
)
def test_what_can_t_be_meant_is_refused_by_its_line_and_nothing_is_kept(
    project, bring, write_lines, record, change, why
):
    with pytest.raises(RecordsError) as refused:
        bring(write_lines([record | change]))
    assert why in str(refused.value.errors[0])
    assert not project.prompts.exists()


def test_a_judge_of_the_project_judges_by_its_criterion_alone(project, bring, write_lines, record, make_judge):
    make_judge(project, "strict", criterion_name="honest")
    with pytest.raises(PrefloopError) as refused:
        bring(write_lines([record]))
    assert "judges by criterion 'honest' and by 'harmless'" in str(refused.value.errors[0])


@pytest.mark.slow
def test_a_trainer_s_format_has_the_labels_by_one_criterion(
    project, bring, write_lines, record, alice, client_for, tmp_path
):
    bring(write_lines([record]))
    project.refresh_from_db()

    def chosen(**how):
        rows = [json.loads(line) for line in export_lines(project=project, format="trl", **how)]
        return [row["chosen"] for row in rows]

    assert chosen() == ["Dear Maria."]
    assert chosen(criterion="honest") == chosen(criterion="honest", labels="human") == ["Hey."]
    assert chosen(criterion="helpful") == chosen(criterion="harmless", labels="human") == []
    with pytest.raises(PrefloopError, match="has no criterion 'funny'; it has harmless, helpful, honest"):
        export_lines(project=project, format="trl", criterion="funny")
    with pytest.raises(PrefloopError, match="records contain all labels"):
        export_lines(project=project, format="records", criterion="honest")
    client = client_for(alice)
    page = client.get(f"/p/{project.slug}/data/?format=trl&criterion=honest").content.decode()
    assert "--criterion honest" in page
    assert "&amp;criterion=honest&amp;as=csv" in page
    got = client.get(f"/p/{project.slug}/data/export/?format=trl&criterion=honest")
    assert b'"chosen":"Hey."' in b"".join(got.streaming_content).replace(b": ", b":")
    out = tmp_path / "honest.jsonl"
    call_command("export_preferences", project=project.slug, format="trl", criterion="honest", out=str(out))
    assert json.loads(out.read_text())["chosen"] == "Hey."
    told = left_out(project=project, format="trl", criterion="helpful")
    assert (told.n_kept, dict(told.counts)) == (0, {"tie": 1})
