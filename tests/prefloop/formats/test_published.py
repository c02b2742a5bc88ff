"""Preferences in others' published forms: each row by hand, and read back by this project's own readers."""

from __future__ import annotations

import orjson
import pytest

from prefloop.formats import WRITERS, PreferenceRow, read_file
from prefloop.records import outcome_of

CHAT = (
    {"role": "user", "content": "Hi."},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Q"},
)
ROWS = [
    PreferenceRow("a", "Question one", "x", "y", outcome="first", source="human", first_model="m", second_model="n"),
    PreferenceRow("b", "Question two", "x", "y", outcome="second", p_first=0.1, source="judge:gpt"),
    PreferenceRow("c", "Question three", "x", "y", outcome="tie", source="human"),
    PreferenceRow("d", "Question four", "x", "y", outcome="both_bad", source="human"),
    PreferenceRow("e", CHAT, "x", "y", outcome="first", source="override"),
    PreferenceRow("f", "Question six", "x", "y"),
]


def written(name, rows=ROWS):
    return [orjson.loads(line) for line in WRITERS[name](rows)]


def said(text):
    return {"role": "assistant", "content": text}


def test_openrlhf_has_whole_conversations():
    first, second, chat = written("openrlhf")
    assert first == {
        "chosen": [{"role": "user", "content": "Question one"}, said("x")],
        "rejected": [{"role": "user", "content": "Question one"}, said("y")],
    }
    assert second["chosen"][-1] == said("y")
    assert chat["chosen"] == [*CHAT, said("x")]


def test_rlhflow_has_the_probabilities_as_scores():
    rows = written("rlhflow")
    assert [(row["chosen_score"], row["rejected_score"]) for row in rows] == [(1, 0), (0.9, pytest.approx(0.1)), (1, 0)]


def test_a_battle_has_two_models_and_a_winner():
    rows = written("arena")
    assert [(row["model_a"], row["model_b"], row["winner"], row["judge"]) for row in rows] == [
        ("m", "n", "model_a", "expert_people"),
        ("unknown", "unknown", "model_b", "gpt"),
        ("unknown", "unknown", "tie", "expert_people"),
        ("unknown", "unknown", "tie (bothbad)", "expert_people"),
        ("unknown", "unknown", "model_a", "expert_people"),
    ]
    assert [row["turn"] for row in rows] == [1, 1, 1, 1, 2]


def test_an_annotation_has_a_preference_from_one_to_two():
    rows = written("alpaca-eval")
    assert [row["preference"] for row in rows] == [1, 1.9, 1.5, 1]
    assert rows[-1]["instruction"] == "User: Hi.\n\nAssistant: Hello.\n\nUser: Q"


def labels(record):
    """The better answer, or the outcome without one, of everything that was said of a record's pair."""
    texts = {"first": record.completions[0].text, "second": record.completions[1].text}
    outcomes = [outcome_of(v.choice) for v in record.votes]
    outcomes += [outcome_of(v.choice, p_first=v.p_first) for v in record.verdicts]
    return [texts.get(outcome, outcome) for outcome in outcomes]


@pytest.mark.parametrize(
    ("name", "outcomes"),
    [
        ("openrlhf", ["x", "y", "x"]),
        ("rlhflow", ["x", "y", "x"]),
        ("arena", ["x", "y", "tie", "both_bad", "x"]),
        ("mt-bench", ["x", "y", "tie", "x"]),
        ("alpaca-eval", ["x", "y", "tie", "x"]),
    ],
)
def test_what_is_written_is_read_back_with_the_same_labels(tmp_path, name, outcomes):
    path = tmp_path / "d.jsonl"
    lines = list(WRITERS[name](ROWS))
    assert lines == list(WRITERS[name](ROWS)), "the same rows give the same bytes"
    path.write_bytes(b"".join(lines))
    records = list(read_file(path))
    assert [labels(record) for record in records] == [[outcome] for outcome in outcomes]
    assert {record.completions[0].text for record in records} <= {"x", "y"}


def test_mt_bench_has_people_as_voters_and_judges_as_judges(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_bytes(b"".join(WRITERS["mt-bench"](ROWS)))
    first, second, *_ = read_file(path)
    assert ([v.rater for v in first.votes], first.verdicts) == (["expert_people"], ())
    assert ([v.judge for v in second.verdicts], second.votes) == (["gpt"], ())
