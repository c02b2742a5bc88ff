"""An id that comes again: what is new of it is added, what is known is passed over, other content is refused."""

from __future__ import annotations

import json

import pytest
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.exchange import services, writing
from apps.labels.models import Judge, Override, Preference, Ranking, Score, Verdict, Vote
from apps.projects.models import Project
from apps.prompts.models import ImportBatch, Prompt
from apps.samples.models import Comparison, Completion, SamplingRun
from prefloop.formats import guarded
from prefloop.records import Record, RecordCompletion, RecordsError, RecordVote

pytestmark = [pytest.mark.django_db, pytest.mark.postgresql]


def one(**more):
    return {"id": "r1", "prompt": "Q", "completions": [{"text": t} for t in "abc"], **more}


def vote(rater, choice, pair=(0, 1), **more):
    return {"rater": rater, "pair": list(pair), "choice": choice, **more}


ANN, BEN, CY = vote("ann", 0), vote("ben", 1), vote("cy", 1)


@pytest.mark.slow
def test_a_later_file_adds_what_is_new_and_nothing_twice(project, bring, write_lines):
    bring(write_lines([one(votes=[ANN])]))
    assert Preference.objects.get().outcome == "first"
    batch = bring(write_lines([one(votes=[ANN, BEN, CY])]))
    assert (batch.n_records, batch.n_unchanged) == (0, 0)
    assert {part: n for part, n in batch.added.items() if n} == {"records": 1, "votes": 2}
    assert Preference.objects.get().outcome == "second"
    for known in ([ANN], [ANN, BEN, CY], [CY]):
        batch = bring(write_lines([one(votes=known)]))
        assert (batch.added, batch.n_unchanged) == ({}, 1)
    assert (Vote.objects.count(), Prompt.objects.count(), Comparison.objects.count()) == (3, 1, 1)


@pytest.mark.slow
def test_every_kind_of_label_is_added(project, bring, take, write_lines, full_record):
    bare = {key: full_record[key] for key in ("id", "split", "prompt", "metadata", "completions", "gold")}
    bring(write_lines([bare]))
    for kind in ("votes", "rankings", "verdicts", "overrides", "scores"):
        bare |= {kind: full_record[kind]}
        assert bring(write_lines([bare])).added[kind] == len(full_record[kind])
        assert bring(write_lines([bare])).added == {}
    models = (Vote, Ranking, Verdict, Override, Score)
    bit_by_bit = {model: model.objects.count() for model in models}
    other = Project.objects.create(slug="at-once", name="At once")
    bring(write_lines([full_record]), project=other)
    at_once = {model: model.objects.count() - n for model, n in bit_by_bit.items()}
    assert at_once == bit_by_bit
    fields = ("comparison__first__text", "comparison__second__text", "outcome", "p_first", "source")
    rows = [Preference.objects.filter(comparison__project=p).values_list(*fields) for p in (project, other)]
    assert sorted(rows[0]) == sorted(rows[1])


def test_a_change_of_mind_in_a_later_file_replaces_and_the_older_file_does_not_bring_it_back(
    project, bring, write_lines
):
    old, new = write_lines([one(votes=[ANN])], "old.jsonl"), write_lines([one(votes=[vote("ann", 1)])], "new.jsonl")
    bring(old)
    bring(new)
    assert Preference.objects.get().outcome == "second"
    assert bring(old).added == {}
    assert Preference.objects.get().outcome == "second"
    first, second = Vote.objects.order_by("id")
    assert second.supersedes == first


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"prompt": "another"}, "its question is not"),
        ({"completions": [{"text": "a"}, {"text": "b"}]}, "its answers are not"),
        ({"completions": [{"text": "a"}, {"text": "b"}, {"text": "d"}]}, "its answers are not"),
        ({"metadata": {"k": 1}}, "its metadata is not"),
        ({"split": "eval"}, "its split is not"),
        ({"gold": [{"pair": [0, 1], "choice": 0}]}, "its gold is not"),
    ],
)
def test_other_content_is_refused_with_its_line_and_nothing_is_added(project, bring, write_lines, change, why):
    bring(write_lines([one(votes=[ANN])]))
    fine = {**one(), "id": "r2"}
    with pytest.raises(RecordsError, match="line 2: id 'r1' is in the project already, with other content") as raised:
        bring(write_lines([fine, one(votes=[ANN, BEN]) | change]))
    assert why in str(raised.value)
    assert (Prompt.objects.count(), Vote.objects.count(), ImportBatch.objects.count()) == (1, 1, 1)


@pytest.mark.slow
def test_a_verdict_that_contradicts_the_one_in_its_place_is_refused(project, bring, write_lines):
    said = {"judge": "j", "pair": [0, 1], "choice": 0}
    bring(write_lines([one(verdicts=[said])]))
    with pytest.raises(
        RecordsError, match=r"line 1: verdicts\[0\] contradicts what judge 'j' said of answers \[0, 1\]"
    ):
        bring(write_lines([one(verdicts=[said | {"choice": 1}])]))
    bring(write_lines([one(verdicts=[said, said | {"choice": 1, "sample": 1}, said | {"judge": "k"}])]))
    assert Verdict.objects.count() == 3


@pytest.mark.slow
def test_answers_sampled_since_and_votes_given_here_are_no_other_content(
    project, bring, take, write_lines, make_comparison, member, make_vote
):
    bring(write_lines([one(votes=[ANN])]))
    prompt = Prompt.objects.get()
    endpoint = project.endpoints.create(name="e", base_url="http://x/v1", model="m")
    run = SamplingRun.objects.create(project=project, n=1, engine="endpoint", endpoint=endpoint)
    Completion.objects.create(project=project, prompt=prompt, run=run, index=0, text="sampled")
    taken = make_vote(Comparison.objects.get(), "second", rater="dora")
    exported = write_lines([], "exported.jsonl")
    exported.write_bytes(take(project))
    make_vote(Comparison.objects.get(), "withdrawn", rater="dora", supersedes=taken)
    assert bring(exported).added == {}  # what was taken back since does not come back
    assert bring(write_lines([one(votes=[ANN, BEN])])).added["votes"] == 1


def test_a_judge_of_several_versions_is_known_by_each(project, bring, take, write_lines, make_verdict, make_judge):
    bring(write_lines([one(verdicts=[{"judge": "j", "pair": [0, 1], "choice": 0}])]))
    comparison = Comparison.objects.get()
    newer = make_judge(project, "j", version=2)
    make_verdict(comparison, "second", judge=newer, order="01")
    exported = write_lines([], "exported.jsonl")
    exported.write_bytes(take(project))
    assert bring(exported).added == {}
    assert Judge.objects.count() == 2  # "j v2" is no third judge
    other = one(verdicts=[{"judge": "j", "pair": [0, 1], "choice": 1, "raw": "another word"}])
    with pytest.raises(RecordsError, match="contradicts"):
        bring(write_lines([other]))


@pytest.mark.slow
def test_additions_come_in_with_the_rest_or_not_at_all(project, bring, write_lines, monkeypatch):
    bring(write_lines([one(votes=[ANN])]))
    new = {**one(votes=[ANN]), "id": "r2"}
    real = services.preferences_derive

    def fail(**options):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(services, "preferences_derive", fail)
    with pytest.raises(RuntimeError):
        bring(write_lines([new, one(votes=[ANN, BEN])]))
    assert (Prompt.objects.count(), Vote.objects.count(), ImportBatch.objects.count()) == (1, 1, 1)
    monkeypatch.setattr(services, "preferences_derive", real)
    batch = bring(write_lines([new, one(votes=[ANN, BEN])]))
    assert (batch.n_records, batch.added["votes"], Vote.objects.count()) == (1, 1, 3)


def test_one_id_twice_in_a_file_of_another_format_is_named(tmp_path, monkeypatch):
    """Whatever a reader makes of its rows, one id with two contents is refused before the database sees it."""
    answers = (RecordCompletion("a"), RecordCompletion("b"))
    rows = [
        Record(id="x", prompt="Q", completions=answers, votes=(RecordVote("ann", (0, 1), 0),)),
        Record(id="x", prompt="Q", completions=answers, votes=(RecordVote("ann", (0, 1), 0),)),
        Record(id="x", prompt="R", completions=answers),
    ]
    path = tmp_path / "pairs.csv"
    path.write_text("prompt,chosen,rejected\np,a,b\n", encoding="utf-8")
    monkeypatch.setattr(guarded, "read_file", lambda *args, **options: iter(rows))
    *_, first, refusal = guarded.written(str(path), "trl", None)
    assert b'"id":"x"' in first
    assert refusal["errors"] == [
        {"line": 3, "message": "id 'x' is that of record 1, with other content", "unit": "record"}
    ]


@pytest.mark.parametrize("fails", ["before", "while writing"])
def test_an_import_that_fails_leaves_no_new_project(db, write_lines, monkeypatch, fails):
    path = write_lines([one(votes=[ANN]), "{" if fails == "before" else {**one(), "id": "r2"}])
    made = []
    monkeypatch.setattr(
        "apps.exchange.management.commands.import_records.project_create",
        lambda **options: made.append(1) or Project.objects.create(slug=options["slug"], name="x"),
    )

    def fail(*args, **options):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(writing, "write_batch", fail)
    with pytest.raises((CommandError, RuntimeError)):
        call_command("import_records", str(path), project="fresh", format="records", verbosity=0)
    assert not Project.objects.exists()
    assert made == ([] if fails == "before" else [1])  # a refused file never makes one


@pytest.mark.slow
def test_the_command_says_what_was_added(project, bring, write_lines, capsys):
    bring(write_lines([one(votes=[ANN])]))
    path = write_lines([one(votes=[ANN, BEN])])
    call_command("import_records", str(path), project=project.slug)
    assert "0 new records of format records, 1 existing ones with new labels" in capsys.readouterr().out
    bring(write_lines([one(votes=[ANN, BEN], rankings=[{"rater": "dee", "groups": [[0, 1], [2]]}])]))
    call_command("import_records", str(path), "--json", project=project.slug)
    counts = json.loads(capsys.readouterr().out)
    assert (counts["n_added"], counts["n_unchanged"], counts["n_votes"]) == (0, 1, 0)


VOTES = st.lists(
    st.builds(
        vote, st.sampled_from(["ann", "ben", "cy"]), st.sampled_from([0, 1, "tie"]), st.sampled_from([(0, 1), (1, 2)])
    ),
    max_size=6,
)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=VOTES, cuts=st.lists(st.integers(0, 6), max_size=3))
def test_votes_brought_in_parts_give_the_labels_of_the_whole(said, cuts, make_project, bring, write_lines):
    parts, whole = make_project(), make_project()
    for end in [*sorted(cuts), len(said)]:
        bring(write_lines([one(votes=said[:end])]), project=parts)
    bring(write_lines([one(votes=said)]), project=whole)
    rows = [
        Preference.objects.filter(comparison__project=project).values_list(
            "comparison__first__text", "comparison__second__text", "outcome", "source"
        )
        for project in (parts, whole)
    ]
    assert sorted(rows[0]) == sorted(rows[1])
    counts = [Vote.objects.filter(comparison__project=project).count() for project in (parts, whole)]
    assert counts == [len(said)] * 2
