"""What comes out is what came in; what measures never trains."""

from __future__ import annotations

import json

import pytest
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.core.models import AuditEvent
from apps.exchange.exports import BadExport, export_lines
from apps.prompts.models import Prompt
from prefloop.records import parse_record, write_record

pytestmark = pytest.mark.django_db

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
NAME = st.sampled_from(["ann", "ben", "käthe", "=cmd()"])
PAIRS = st.sampled_from([[0, 1], [1, 0], [0, 2], [2, 1]])
TIMES = st.sampled_from([None, "2026-01-01", "2026-01-01T10:00:00", "2026-01-01T10:00:00.125+05:30"])


def _drop_none(row):
    return {key: value for key, value in row.items() if value is not None}


VOTE = st.builds(
    lambda rater, pair, choice, order, at: _drop_none(
        {"rater": rater, "pair": pair, "choice": choice, "order": order, "at": at}
    ),
    NAME,
    PAIRS,
    st.sampled_from([0, 1, "tie", "both_bad", "skip"]),
    st.sampled_from([None, [0, 1], [1, 0]]),
    TIMES,
)
VERDICT = st.builds(
    lambda judge, pair, order, said: {"judge": judge, "pair": pair, "order": order, **said},
    NAME,
    PAIRS,
    st.sampled_from([[0, 1], [1, 0]]),
    st.sampled_from(
        [{"choice": 0}, {"choice": "tie", "p_first": 0.5}, {"p_first": 0.25}, {"state": "error", "choice": None}]
    ),
)
OVERRIDE = st.builds(
    lambda rater, pair, judge, choice, at: _drop_none(
        {"rater": rater, "pair": pair, "judge": judge, "choice": choice, "at": at}
    ),
    NAME,
    PAIRS,
    st.sampled_from([None, "ann", "other"]),
    st.sampled_from([0, 1, "tie", "both_bad"]),
    TIMES,
)
RECORD = st.fixed_dictionaries(
    {
        "prompt": st.one_of(TEXT, st.lists(st.fixed_dictionaries({"role": NAME, "content": TEXT}), min_size=1)),
        "completions": st.lists(
            st.fixed_dictionaries({"text": TEXT}, optional={"model": NAME, "metadata": st.dictionaries(TEXT, TEXT)}),
            min_size=3,
            max_size=4,
        ),
        "votes": st.lists(VOTE, max_size=6),
        "verdicts": st.lists(VERDICT, max_size=6, unique_by=lambda v: (v["judge"], *sorted(v["pair"]))),
        "overrides": st.lists(OVERRIDE, max_size=3),
    },
    optional={
        "split": st.sampled_from(["train", "eval"]),
        "metadata": st.dictionaries(TEXT, st.one_of(TEXT, st.integers(-5, 5), st.booleans())),
        "gold": st.sampled_from([[], [{"pair": [1, 0], "choice": 1}]]),
        "rankings": st.just([{"rater": "ann", "groups": [[2], [0, 1]]}]),
        "scores": st.just([{"judge": "ann", "completion": 1, "value": 3.0}] * 2),
    },
)


@pytest.mark.slow
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(RECORD, min_size=1, max_size=3))
def test_any_records_come_out_as_they_went_in(rows, make_project, bring, take, write_lines):
    rows = [{"id": f"r{i}", **row} for i, row in enumerate(rows)]
    project = make_project()
    bring(write_lines(rows), project=project, format="records")
    assert take(project) == b"".join(write_record(parse_record(row)) for row in rows)


@pytest.mark.slow
def test_an_export_imported_elsewhere_and_exported_again_is_the_same_bytes(
    project, other_project, bring, take, write_lines, full_record, tmp_path
):
    bring(write_lines([full_record, {"id": "2", "prompt": "p", "completions": []}]))
    out = tmp_path / "out.jsonl"
    call_command("export_preferences", project=project.slug, format="records", out=str(out), verbosity=0)
    bring(out, project=other_project)
    assert take(other_project) == out.read_bytes() == take(project)


@pytest.mark.slow
def test_what_people_did_here_is_exported_and_what_they_took_back_is_not(
    project, make_comparison, make_vote, make_judge, make_verdict, take
):
    comparison = make_comparison(project)
    first = make_vote(comparison, "first", rater="ann")
    gone = make_vote(comparison, "withdrawn", rater="ann", supersedes=first)
    make_vote(comparison, "tie", rater="ann", supersedes=gone)
    taken = make_vote(comparison, "second", rater="ben")
    make_vote(comparison, "withdrawn", rater="ben", supersedes=taken)
    make_verdict(comparison, "", judge=make_judge(project, "j"), state="skipped")
    record = json.loads(take(project))
    assert record["votes"] == [{"rater": "ann", "pair": [0, 1], "choice": "tie", "order": [0, 1]}]
    assert "verdicts" not in record


def test_versions_of_one_judge_keep_apart(project, make_comparison, make_judge, make_verdict, take):
    comparison = make_comparison(project)
    make_verdict(comparison, "first", judge=make_judge(project, "j"))
    make_verdict(comparison, "second", judge=make_judge(project, "j", version=2))
    verdicts = json.loads(take(project))["verdicts"]
    assert [(v["judge"], v["choice"]) for v in verdicts] == [("j", 0), ("j v2", 1)]


@pytest.fixture
def mixed(project, bring, write_lines):
    """A train pair that people decided, one only a judge did, a gold one, one for evaluation, one not decided."""

    def row(name, **more):
        return {
            "id": name,
            "prompt": f"say {name}",
            "completions": [{"text": f"{name} A"}, {"text": f"{name} B"}],
            **more,
        }

    vote, verdict = [{"rater": "x", "choice": 1}], [{"judge": "j", "choice": 0}]
    gold = [{"choice": 0}]
    rows = [
        row("people", votes=vote, verdicts=verdict),
        row("judge", verdicts=verdict),
        row("gold", votes=vote, gold=gold),
        row("eval", votes=vote, split="eval"),
        row("tie", votes=[{"rater": "x", "choice": "tie"}]),
        row("bad", votes=[{"rater": "x", "choice": "both_bad"}]),
    ]
    bring(write_lines(rows))
    return project


def _lines(data):
    return [json.loads(line) for line in data.splitlines()]


def test_gold_and_evaluation_items_never_train(mixed, take):
    for form in ("trl", "trl-implicit", "kto", "sft", "prompt-only"):
        text = take(mixed, form).decode()
        assert "people" in text
        assert "gold" not in text
        assert "eval" not in text


def test_each_shape_says_what_was_decided(mixed, take):
    assert _lines(take(mixed, "trl")) == [
        {"prompt": "say people", "chosen": "people B", "rejected": "people A"},
        {"prompt": "say judge", "chosen": "judge A", "rejected": "judge B"},
    ]
    assert len(_lines(take(mixed, "kto"))) == 6  # two decided pairs and one both bad
    assert [row["completion"] for row in _lines(take(mixed, "sft"))] == ["people B", "judge A"]
    assert [row["prompt"] for row in _lines(take(mixed, "prompt-only"))] == [
        "say people",
        "say judge",
        "say tie",
        "say bad",
    ]


@pytest.mark.slow
def test_human_labels_leave_judges_and_overrides_aside(mixed, take, bring, write_lines):
    override = [{"rater": "lead", "judge": "j", "choice": 0}]
    row = {"id": "o", "prompt": "say o", "completions": [{"text": "o A"}, {"text": "o B"}]}
    row |= {"votes": [{"rater": "x", "choice": 1}], "verdicts": [{"judge": "j", "choice": 1}], "overrides": override}
    bring(write_lines([row]))
    assert [line["chosen"] for line in _lines(take(mixed, "trl", "human"))] == ["people B", "o B"]
    assert [line["chosen"] for line in _lines(take(mixed, "trl"))] == ["people B", "judge A", "o A"]


def test_the_file_is_whole_or_not_there(mixed, tmp_path, monkeypatch):
    out = tmp_path / "out.jsonl"
    out.write_text("before")
    from apps.exchange import exports

    def breaks(**options):
        yield b"{}\n"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exports, "export_lines", breaks)
    with pytest.raises(CommandError, match="No space left"):
        call_command("export_preferences", project=mixed.slug, format="trl", out=str(out))
    assert out.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_bad_choices_are_one_clear_line(mixed, tmp_path):
    for options in ({"format": "csv"}, {"format": "records", "labels": "human"}, {"format": "trl", "labels": "x"}):
        with pytest.raises(BadExport) as raised:
            export_lines(project=mixed, **options)
        assert "\n" not in str(raised.value)
    with pytest.raises(CommandError, match="no project 'nobody'"):
        call_command("export_preferences", project="nobody", format="trl", out=str(tmp_path / "x"))
    with pytest.raises(CommandError, match="No such file"):
        call_command("export_preferences", project=mixed.slug, format="trl", out=str(tmp_path / "no" / "x"))


def test_an_export_is_audited(mixed, tmp_path):
    call_command("export_preferences", project=mixed.slug, format="trl", out=str(tmp_path / "x.jsonl"))
    assert AuditEvent.objects.filter(verb="data.export", data__format="trl").count() == 1


def test_a_prompt_of_an_unfinished_import_is_not_exported(mixed, take):
    batch = Prompt.objects.first().batch
    type(batch).objects.filter(pk=batch.pk).update(ready=False)
    assert take(mixed) == b""
    assert take(mixed, "prompt-only") == b""
