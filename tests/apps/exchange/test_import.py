"""A file comes in whole or not at all, says what it said, and the same file again changes nothing."""

from __future__ import annotations

import gzip
import json
from contextlib import contextmanager

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from apps.exchange import lock, reading, services, writing
from apps.exchange.lock import ImportBusy, import_lock
from apps.exchange.reading import CompressedFile, NothingToImport
from apps.labels import bulk
from apps.labels.models import Judge, Override, Preference, Ranking, Verdict, Vote
from apps.labels.services import preferences_derive
from apps.prompts.models import ImportBatch, Prompt, ready
from apps.samples.models import Comparison, Completion
from prefloop.formats.guarded import Reading
from prefloop.records import RecordsError, parse_record, write_record
from prefloop.types import PrefloopError

pytestmark = pytest.mark.django_db


def simple(i, **more):
    return {"id": f"r{i}", "prompt": f"Prompt {i}", "completions": [{"text": "a"}, {"text": "b"}], **more}


def test_every_part_of_a_record_becomes_what_it_says(project, bring, write_lines, full_record):
    batch = bring(write_lines([full_record]))
    prompt = Prompt.objects.get()
    assert (batch.ready, batch.n_records, batch.n_unchanged, batch.format) == (True, 1, 0, "records")
    assert prompt.text == "System: Be kind.\n\nUser: Thank Maria\u202e."
    assert prompt.messages == full_record["prompt"]
    assert [c.index for c in Completion.objects.order_by("id")] == [0, 1, 2]
    pairs = {(c.first.index, c.second.index): c for c in Comparison.objects.select_related("first", "second")}
    assert set(pairs) == {(0, 1), (0, 2), (1, 2)}
    assert (pairs[0, 2].gold, pairs[0, 2].held_out) == ("first", True)
    assert (pairs[0, 1].gold, pairs[0, 1].held_out) == ("", False)
    earlier, later = Vote.objects.filter(rater="annotator1").order_by("id")
    assert (earlier.choice, earlier.order, earlier.seconds, earlier.guideline) == ("second", "10", 4.2, "v3")
    assert earlier.at.isoformat() == "2026-01-02T01:04:05+00:00"
    assert later.supersedes == earlier
    assert later.choice == "first"
    assert Ranking.objects.count() == 2
    assert Judge.objects.get(name="gpt-4").kind == "imported"
    soft = Verdict.objects.get(judge__name="soft", state="ok")
    assert (soft.outcome, soft.p_first) == ("first", 0.8)
    assert Vote.objects.filter(user__isnull=False).count() == 0


def test_a_judge_asked_in_both_orders_must_agree_and_one_asked_once_is_believed(project, bring, write_lines):
    both = [{"judge": "both", "pair": [0, 1], "order": o, "choice": c} for o, c in (([0, 1], 0), ([1, 0], 1))]
    bring(write_lines([simple(1, verdicts=both)]))
    assert Preference.objects.get().outcome == "inconsistent"
    other = Judge.objects.get()
    assert other.order_policy == "both_agree"


def test_what_a_data_set_says_becomes_a_label(project, bring, write_lines):
    bring(write_lines([{"prompt": "p", "chosen": "good", "rejected": "bad"}]))
    preference = Preference.objects.get()
    chosen = preference.comparison.first if preference.outcome == "first" else preference.comparison.second
    assert (chosen.text, preference.source) == ("good", "judge:dataset")


def test_a_record_without_named_pairs_gets_all_of_them(project, bring, write_lines):
    bring(write_lines([simple(1) | {"completions": [{"text": str(i)} for i in range(4)]}]))
    assert Comparison.objects.count() == 6


def test_evaluation_prompts_are_held_out(project, bring, write_lines):
    bring(write_lines([simple(1, split="eval"), simple(2)]))
    assert list(Comparison.objects.order_by("id").values_list("held_out", flat=True)) == [True, False]


def test_an_override_that_says_what_the_judge_said_is_an_agreement(project, bring, write_lines):
    verdict = {"judge": "j", "pair": [0, 1], "choice": 0}
    decide = {"rater": "lead1", "pair": [0, 1], "judge": "j"}
    bring(
        write_lines(
            [
                simple(1, verdicts=[verdict], overrides=[decide | {"choice": 0}]),
                simple(2, verdicts=[verdict], overrides=[decide | {"choice": 1}]),
            ]
        )
    )
    assert list(Override.objects.order_by("id").values_list("kind", "judge_outcome")) == [
        ("agree", "first"),
        ("override", "first"),
    ]
    assert sorted(Preference.objects.values_list("source", "outcome")) == [("judge:j", "first"), ("override", "second")]


def test_labels_derived_again_are_the_same(project, bring, write_lines, full_record):
    bring(write_lines([full_record, simple(1, votes=[{"rater": "x", "choice": 0}])]))
    # both votes tie, but an override decides; a pair of a ranking; another override; one vote
    assert Preference.objects.count() == 4
    assert preferences_derive(project=project, now=timezone.now()) == 0


def test_one_bad_line_in_ten_is_named_and_nothing_is_written(project, bring, write_lines):
    rows = [simple(i) for i in range(10)]
    rows[6]["votes"] = [{"rater": "x", "pair": [0, 2], "choice": 0}]
    with pytest.raises(RecordsError) as raised:
        bring(write_lines(rows))
    assert str(raised.value) == "line 7: votes[0].pair names completion 2, and there are 2"
    assert not ImportBatch.objects.exists()
    assert not Prompt.objects.exists()
    assert not Judge.objects.exists()


def test_errors_are_gathered_by_line_and_stop_at_fifty(bring, write_lines):
    with pytest.raises(RecordsError) as raised:
        bring(write_lines(["not json"] * 80), format="records")
    assert len(raised.value.errors) == 50
    assert raised.value.stopped


def test_the_same_file_again_changes_nothing_and_a_longer_one_adds_the_rest(project, bring, write_lines):
    bring(write_lines([simple(1), simple(2)]))
    again = bring(write_lines([simple(1), simple(2), simple(3)]))
    assert (again.n_records, again.n_unchanged, Prompt.objects.count()) == (1, 2, 3)


def test_an_id_with_other_content_is_refused_with_its_line(project, bring, write_lines):
    bring(write_lines([simple(1)]))
    with pytest.raises(RecordsError, match="line 3: id 'r1' is in the project already, with other content"):
        bring(write_lines(["", json.dumps(simple(2)), simple(1, metadata={"k": 1})]))
    assert Prompt.objects.count() == 1


def test_what_the_database_cannot_hold_is_refused_by_line(bring, write_lines):
    for row, why in (
        (simple(1, votes=[{"rater": "x" * 151, "choice": 0}]), "votes[0].rater is longer than 150"),
        (simple(1, verdicts=[{"judge": "j" * 121, "choice": 0}]), "verdicts[0].judge is longer than 120"),
        (simple(1, verdicts=[{"judge": "j", "choice": 0, "sample": 40000}]), "verdicts[0].sample is above"),
        (simple(1, votes=[{"rater": "x", "choice": 0, "at": "0001-01-01T00:00:00+14:00"}]), "not a time"),
        (simple(1) | {"completions": [{"text": ""}] * 300}, "44,850 comparisons"),
    ):
        with pytest.raises(RecordsError, match="line 2") as raised:
            bring(write_lines([simple(0), row]))
        assert why in str(raised.value)


def test_files_that_are_none_are_refused_in_one_line(bring, tmp_path):
    packed = tmp_path / "records.jsonl"
    packed.write_bytes(gzip.compress(json.dumps(simple(1)).encode()))
    with pytest.raises(CompressedFile, match="unpack it"):
        bring(packed)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n\n")
    with pytest.raises(NothingToImport):
        bring(empty, format="records")
    for path, form in ((tmp_path / "missing.jsonl", "auto"), (empty, "xml"), (tmp_path, "auto")):
        with pytest.raises(PrefloopError) as raised:
            bring(path, format=form)
        assert "\n" not in str(raised.value)


def test_json_nested_a_hundred_thousand_deep_is_a_bad_line(bring, write_lines):
    deep = '{"id":"x","prompt":"p","completions":[],"metadata":' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}"
    with pytest.raises(RecordsError, match="line 1"):
        bring(write_lines([deep]), format="records")


def test_a_table_with_formulas_comes_in_as_it_is(project, bring, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("prompt,chosen,rejected\n=1+1,\"=cmd|' /C calc'!A0\",+1\n", encoding="utf-8")
    bring(path)
    assert set(Completion.objects.values_list("text", flat=True)) == {"=cmd|' /C calc'!A0", "+1"}


def test_a_killed_import_is_invisible_and_the_next_one_sweeps_it(project, bring, write_lines, monkeypatch):
    """KeyboardInterrupt stands for the kill: nothing in the service may run after it."""
    votes = [{"rater": "x", "choice": 0}, {"rater": "x", "choice": 1}]
    path = write_lines([simple(i, votes=votes, verdicts=[{"judge": "j", "choice": 0}]) for i in range(6)])
    monkeypatch.setattr(services, "BATCH", 2)
    real, calls = writing.write_batch, []

    def killed(*args, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(*args, **options)

    monkeypatch.setattr(writing, "write_batch", killed)
    with pytest.raises(KeyboardInterrupt):
        bring(path)
    assert Prompt.objects.count() == 4  # they are there, and nobody sees them
    assert not Prompt.objects.filter(ready()).exists()
    assert not Preference.objects.exists()
    monkeypatch.setattr(writing, "write_batch", real)
    batch = bring(path)
    assert batch.n_records == 6
    assert ImportBatch.objects.count() == 1
    assert (Prompt.objects.filter(ready()).count(), Vote.objects.count()) == (6, 12)
    assert Preference.objects.count() == 6


def test_a_failed_write_leaves_nothing_behind(project, bring, write_lines, monkeypatch):
    monkeypatch.setattr(services, "BATCH", 2)

    insert = bulk.rows_insert

    def fail(model, names, rows, **more):
        if rows and model is Verdict:
            raise RuntimeError("the disk is full")
        return insert(model, names, rows, **more)

    monkeypatch.setattr(bulk, "rows_insert", fail)
    with pytest.raises(RuntimeError):
        bring(write_lines([simple(i, verdicts=[{"judge": "j", "choice": 0}]) for i in range(3)]))
    assert not ImportBatch.objects.exists()
    assert not Judge.objects.exists()


def test_an_interrupted_derivation_is_made_up_for_by_the_next_import(project, bring, write_lines):
    bring(write_lines([simple(1, votes=[{"rater": "x", "choice": 0}])]))
    Preference.objects.all().delete()
    bring(write_lines([simple(2)]))
    assert Preference.objects.count() == 1


@contextmanager
def _held_elsewhere(project):
    """Hold the project's import lock as another process would."""
    if connection.vendor != "postgresql":
        with import_lock(project):  # a lock of a file belongs to who opened it, not to the process
            yield
        return
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": psycopg.ClientCursor}) as other:
        other.execute("SELECT pg_advisory_lock(%s, %s)", [lock._SPACE, project.pk])
        yield


def test_two_imports_into_one_project_do_not_run_at_once(project, bring, write_lines, other_project):
    with _held_elsewhere(project), pytest.raises(ImportBusy, match="letters-test is running"):
        bring(write_lines([simple(1)]))
    with _held_elsewhere(other_project):
        bring(write_lines([simple(1)]))


def test_an_import_reads_its_file_without_holding_it(project, bring, write_lines, django_assert_max_num_queries):
    """Queries grow with batches, not with records: 30 records here, 300 there, few more queries."""
    path = write_lines([simple(i, votes=[{"rater": "x", "choice": 0}]) for i in range(300)])
    with django_assert_max_num_queries(80):
        bring(path)


def test_a_large_file_is_read_again_where_it_was_checked(project, bring, take, write_lines, full_record, monkeypatch):
    """Its blank lines and repeats are passed over both times; a small one's records are kept instead."""
    records = [full_record, simple(0), simple(0), simple(1)]
    path = write_lines(records)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\n\n", 2))
    monkeypatch.setattr(reading, "_KEPT_BYTES", 0)
    passes = []
    records_of = Reading.records
    monkeypatch.setattr(Reading, "records", lambda file: passes.append(1) or records_of(file))
    assert bring(path).n_records == 3
    assert len(passes) == 2
    written = b"".join(write_record(parse_record(record)) for record in (full_record, simple(0), simple(1)))
    assert take(project) == written


def test_a_large_file_that_changes_while_it_is_written_leaves_nothing(project, bring, write_lines, monkeypatch):
    path = write_lines([simple(0), simple(1)])
    monkeypatch.setattr(reading, "_KEPT_BYTES", 0)
    real = writing.write_batch

    def changed(*args, **options):
        real(*args, **options)
        path.write_bytes(path.read_bytes() + b"\n")

    monkeypatch.setattr(writing, "write_batch", changed)
    with pytest.raises(services.FileChanged):
        bring(path)
    assert not Prompt.objects.exists()
    assert not ImportBatch.objects.exists()


def test_a_records_canonical_form_survives(project, bring, take, write_lines, full_record):
    bring(write_lines([full_record]))
    assert take(project) == write_record(parse_record(full_record))
