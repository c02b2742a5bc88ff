"""Data sets of the field in the shapes they are published in: rows of our own wording under their column names."""

from __future__ import annotations

import csv
import gzip
import json

import pytest

from prefloop.formats import columns, detect_format, read_file
from prefloop.formats.columns import BadMapping, Mapping
from prefloop.formats.opening import FREE_BYTES, UnreadableFile
from prefloop.records import RecordsError


@pytest.fixture
def rows_in(tmp_path):
    def write(rows, name="data.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return path

    return write


def _only(path, expected):
    assert detect_format(path) == expected
    return list(read_file(path))


def test_ultrafeedback_keeps_every_aspect_and_what_was_not_rated(rows_in):
    row = {
        "source": "ours", "instruction": "Add 2 and 2.", "models": ["m1", "m2"],
        "completions": [
            {"model": "m1", "response": "4", "overall_score": 8.5, "annotations": {"honesty": {"Rating": "5"}}},
            {"model": "m2", "response": "5", "overall_score": 2, "annotations": {"honesty": {"Rating": "N/A"}}},
        ],
    }  # fmt: skip
    (record,) = _only(rows_in([row]), "ultrafeedback")
    said = {(s.judge, s.completion): (s.value, s.state) for s in record.scores}
    assert said == {
        ("ultrafeedback/overall", 0): (8.5, "ok"),
        ("ultrafeedback/overall", 1): (2.0, "ok"),
        ("ultrafeedback/honesty", 0): (5.0, "ok"),
        ("ultrafeedback/honesty", 1): (None, "unparseable"),
    }
    assert [c.model for c in record.completions] == ["m1", "m2"]
    assert record.metadata == {"source": "ours", "models": ["m1", "m2"]}


def test_helpsteer_2_joins_the_answers_to_one_prompt(rows_in):
    ratings = {"correctness": 3, "coherence": 4, "complexity": 1, "verbosity": 1}
    rows = [
        {"prompt": "Why?", "response": text, "helpfulness": h} | ratings for text, h in (("So.", 1), ("Because.", 4))
    ]
    (record,) = _only(rows_in(rows), "helpsteer")
    assert [c.text for c in record.completions] == ["So.", "Because."]
    assert [s.value for s in record.scores if s.judge == "helpsteer/helpfulness"] == [1.0, 4.0]
    rows[1]["verbosity"] = 9
    with pytest.raises(RecordsError, match=r"line 1: verbosity is not between 0 and 4"):
        list(read_file(rows_in(rows)))


@pytest.mark.parametrize(("strength", "choice"), [(-3, 0), (0, "tie"), (2, 1)])
def test_helpsteer_preferences_are_votes(rows_in, strength, choice):
    row = {"prompt": "p", "response_1": "a", "response_2": "b", "preference_strength": strength, "split": "train"}
    (record,) = _only(rows_in([row]), "helpsteer-pairs")
    assert [(v.rater, v.choice) for v in record.votes] == [("helpsteer", choice)]


def test_helpsteer_3_keeps_each_annotator(rows_in):
    row = {
        "domain": "code", "language": "english", "context": [{"role": "user", "content": "p"}],
        "response1": "a", "response2": "b", "overall_preference": -2,
        "individual_preference": [{"score": -2, "reasoning": "shorter"}, {"score": 1, "reasoning": ""}],
    }  # fmt: skip
    (record,) = _only(rows_in([row]), "helpsteer-pairs")
    assert [(v.rater, v.choice, v.reason) for v in record.votes] == [
        ("helpsteer-1", 0, "strength -2: shorter"),
        ("helpsteer-2", 1, "strength +1"),
    ]
    assert record.metadata == {"domain": "code", "language": "english", "overall_preference": -2}


def _talk(*texts):
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def test_arena_conversations(rows_in):
    row = {
        "question_id": "q", "model_a": "x", "model_b": "y", "winner": "tie (bothbad)", "judge": "arena_user_1",
        "conversation_a": _talk("Hi", "a"), "conversation_b": _talk("Hi", "b"), "turn": 1, "anony": True, "tstamp": 1.0,
    }  # fmt: skip
    (record,) = _only(rows_in([row]), "arena")
    assert record.prompt == "Hi"
    assert [(c.text, c.model) for c in record.completions] == [("a", "x"), ("b", "y")]
    assert [(v.rater, v.choice) for v in record.votes] == [("arena_user_1", "both_bad")]


def test_arena_55k_is_a_csv_of_json_lists(tmp_path):
    path = tmp_path / "train.csv"
    columns_ = [
        "id",
        "model_a",
        "model_b",
        "prompt",
        "response_a",
        "response_b",
        "winner_model_a",
        "winner_model_b",
        "winner_tie",
    ]
    values = ["7", "x", "y", '["one","two"]', '["a1","a2"]', '["a1",null]', "0", "1", "0"]
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([columns_, values])
    (record,) = _only(path, "arena")
    assert [turn["content"] for turn in record.prompt] == ["one", "a1", "two"]
    assert [c.text for c in record.completions] == ["a2", ""]
    assert record.votes[0].choice == 1


def test_mt_bench_gathers_the_judges_of_a_pair(rows_in):
    base = {"question_id": 81, "turn": 1, "conversation_a": _talk("q", "a"), "conversation_b": _talk("q", "b")}
    rows = [
        base | {"model_a": "x", "model_b": "y", "winner": "model_a", "judge": "expert_1"},
        base | {"model_a": "x", "model_b": "y", "winner": "tie", "judge": "author_2"},
        base | {"model_a": "x", "model_b": "y", "winner": "model_b", "judge": ["gpt-4", "pair-v2"]},
        base | {"model_a": "y", "model_b": "x", "winner": "model_a", "judge": "gpt4_pair"},
    ]
    (record,) = _only(rows_in(rows), "mt-bench")
    assert [(v.rater, v.choice) for v in record.votes] == [("expert_1", 0), ("author_2", "tie")]
    said = [(v.judge, v.order, v.choice) for v in record.verdicts]
    assert said == [("gpt-4/pair-v2", (0, 1), 1), ("gpt4_pair", (1, 0), 1)]  # y won, shown first


def test_alpaca_eval_annotations(rows_in):
    pair = {"instruction": "i", "output_1": "a", "generator_1": "ref", "output_2": "b", "generator_2": "new"}
    swapped = {"instruction": "i", "output_1": "b", "generator_1": "ref", "output_2": "a", "generator_2": "new"}
    rows = [
        pair | {"annotator": "judge-1", "preference": 1.9},
        pair | {"annotator": "judge-2", "preference": None, "raw_completion": "?"},
        swapped | {"annotator": "judge-1", "preference": 1},
    ]
    (record,) = _only(rows_in(rows), "alpaca-eval")
    said = [(v.judge, v.order, v.state, v.choice, v.p_first) for v in record.verdicts]
    assert said[0][:4] == ("judge-1", (0, 1), "ok", 1)
    assert said[0][4] == pytest.approx(0.1)
    assert said[1] == ("judge-2", (0, 1), "unparseable", None, None)
    assert said[2][:4] == ("judge-1", (1, 0), "ok", 1)  # output_1, shown first, is the record's second answer
    people = [
        {"instruction": "i", "input": "", "output_1": "a", "output_2": "b", "preference": p, "annotator_index": k}
        for k, p in enumerate((1, 2, 0))
    ]
    (record,) = list(read_file(rows_in(people, "people.json.jsonl")))
    assert [(v.rater, v.choice) for v in record.votes] == [("annotator0", 0), ("annotator1", 1), ("annotator2", "tie")]


def test_label_studio_export(tmp_path):
    def annotation(**more):
        result = [{"type": "pairwise", "from_name": "pw", "to_name": "a", "value": {"selected": "right"}}]
        return {"completed_by": 4, "result": result, "lead_time": 3.5, "created_at": "2026-01-02T03:04:05Z"} | more

    tie = annotation(result=[{"type": "choices", "value": {"choices": ["Tie"]}}], completed_by={"email": "a@b.c"})
    task = {
        "id": 1,
        "data": {"prompt": "p", "answer_1": "a", "answer_2": "b", "topic": "t"},
        "annotations": [annotation(), tie, annotation(was_cancelled=True, completed_by=5)],
        "predictions": [{"model_version": "m", "score": 0.7, "result": annotation()["result"]}],
    }
    path = tmp_path / "export.json"
    path.write_text(json.dumps([task]))
    (record,) = _only(path, "label-studio")
    votes = [(v.rater, v.choice, v.seconds) for v in record.votes]
    assert votes == [("label-studio-4", 1, 3.5), ("a@b.c", "tie", 3.5), ("label-studio-5", "skip", 3.5)]
    assert [(v.judge, v.choice) for v in record.verdicts] == [("m", 1)]
    assert record.metadata == {"topic": "t"}


def test_argilla_records(rows_in):
    pair = {
        "fields": {"instruction": "i", "response1": "a", "response2": "b"}, "metadata": {"k": 1},
        "responses": {"better": [
            {"value": "response2", "user_id": "u1", "status": "submitted"},
            {"value": "tie", "user_id": "u2", "status": "submitted"},
            {"value": "1", "user_id": "u3", "status": "draft"},
            {"value": None, "user_id": "u4", "status": "discarded"},
        ]},
        "suggestions": {"better": {"value": "1", "agent": "gpt", "score": 0.5}},
    }  # fmt: skip
    (record,) = _only(rows_in([pair]), "argilla")
    assert [(v.rater, v.choice) for v in record.votes] == [("u1", 1), ("u2", "tie"), ("u4", "skip")]
    assert [(v.judge, v.choice) for v in record.verdicts] == [("gpt", 0)]
    ranks = [{"value": f"response{i}", "rank": rank} for i, rank in ((1, 2), (2, 1), (3, 2))]
    three = {
        "fields": {"instruction": "i", "response1": "a", "response2": "b", "response3": "c"},
        "responses": {"order": [{"value": ranks, "user_id": "u1", "status": "submitted"}]}, "suggestions": {},
    }  # fmt: skip
    (record,) = _only(rows_in([three]), "argilla")
    assert record.rankings[0].groups == ((1,), (0, 2))


def test_any_table_by_its_columns(rows_in):
    rows = [
        {"question": "q", "output_a": "x", "output_b": "y", "winner": w, "topic": "t"} for w in ("A", "output_b", "tie")
    ]
    records = _only(rows_in(rows), "table")
    assert [r.verdicts[0].choice for r in records] == [0, 1, "tie"]
    assert records[0].metadata == {"topic": "t"}
    numbers = rows_in([row | {"winner": w} for row, w in zip(rows, (1, 2), strict=False)])
    with pytest.raises(RecordsError, match="say which value means which answer"):
        list(read_file(numbers))
    said = Mapping.parse(
        ["prompt=question", "first=output_a", "second=output_b", "label=winner", "first_value=1", "second_value=2"]
    )
    assert [r.verdicts[0].choice for r in read_file(numbers, format_name="table", mapping=said)] == [0, 1]


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        (["prompt=nope", "first=output_a", "second=output_b"], "no column 'nope'"),
        (["first=output_a", "second=output_b"], "no column is mapped to prompt"),
        (["prompt=question", "first=output_a"], "either chosen and rejected, or first and second"),
        (["prompt=question", "first=output_a", "second=output_b", "first_value=1"], "give all three"),
        (["colour=red"], "PART=COLUMN"),
    ],
)
def test_a_bad_mapping_is_refused_in_one_line(rows_in, parts, why):
    path = rows_in([{"question": "q", "output_a": "x", "output_b": "y"}])
    with pytest.raises(BadMapping, match=why):
        list(read_file(path, format_name="table", mapping=Mapping.parse(parts)))


def test_a_mapping_is_guessed_from_names():
    guessed = columns.guess(["id", "instruction", "response_1", "response_2", "preferred", "annotator"])
    assert guessed == Mapping(
        prompt="instruction", first="response_1", second="response_2", label="preferred", rater="annotator", id="id"
    )


@pytest.mark.slow
def test_gzip_reads_as_what_is_in_it_and_is_bounded(tmp_path):
    row = json.dumps({"prompt": "p", "chosen": "a", "rejected": "b"}).encode() + b"\n"
    plain, packed = tmp_path / "d.jsonl", tmp_path / "d.jsonl.gz"
    plain.write_bytes(row * 3)
    packed.write_bytes(gzip.compress(row * 3))
    assert list(read_file(packed)) == list(read_file(plain))
    packed.write_bytes(gzip.compress(row * 3)[:-12])
    with pytest.raises(UnreadableFile, match="not a complete gzip file"):
        list(read_file(packed))
    bomb = tmp_path / "bomb.jsonl.gz"
    bomb.write_bytes(gzip.compress(b" " * (FREE_BYTES + 10)))
    with pytest.raises(UnreadableFile, match="unpacks to more than"):
        list(read_file(bomb, format_name="trl"))


def test_a_long_list_of_json_is_read_row_by_row(tmp_path):
    path = tmp_path / "list.json"
    path.write_text(json.dumps([{"prompt": f"p{i}", "chosen": "a", "rejected": "b"} for i in range(50)])[:-40])
    seen = []
    with pytest.raises(UnreadableFile, match="not valid JSON after row 4"):
        seen.extend(read_file(path))
