from __future__ import annotations

import io
import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefloop.records import (
    Gold,
    InvalidRecord,
    Record,
    RecordCompletion,
    RecordOverride,
    RecordRanking,
    RecordScore,
    RecordsError,
    RecordVerdict,
    RecordVote,
    choice_of,
    comparisons_of,
    content_hash,
    outcome_of,
    parse_line,
    parse_record,
    read_records,
    write_record,
)
from prefloop.records import read as read_module
from prefloop.types import OUTCOMES, STRENGTHS, UNLABELLED, PrefloopError

FULL = {
    "id": "q17",
    "split": "train",
    "prompt": [{"role": "user", "content": "Why?"}],
    "metadata": {"b": 1, "a": [None, {"z": "é", "y": 0.1}]},
    "completions": [{"text": "x", "model": "gpt-4", "metadata": {"k": 1}}, {"text": ""}, {"text": "z"}],
    "gold": [{"pair": [0, 1], "choice": 1}],
    "votes": [
        {
            "rater": "annotator1",
            "pair": [0, 1],
            "choice": "both_bad",
            "order": [1, 0],
            "at": "2026-01-02T03:04:05Z",
            "seconds": 4.2,
            "guideline": "v3",
            "reason": "both rude",
        },
        {"rater": "annotator2", "pair": [1, 2], "choice": "skip"},
        {"rater": "annotator3", "pair": [0, 2], "choice": 1, "strength": "much_better"},
    ],
    "rankings": [{"rater": "annotator2", "groups": [[2], [0, 1]]}, {"judge": "gpt-4", "groups": [[0], [2]]}],
    "verdicts": [
        {
            "judge": "gpt-3.5-turbo",
            "pair": [0, 1],
            "order": [1, 0],
            "sample": 0,
            "state": "ok",
            "choice": 0,
            "p_first": 0.8,
            "raw": "[[B]]",
        },
        {
            "judge": "gpt-3.5-turbo",
            "pair": [0, 1],
            "order": [0, 1],
            "sample": 0,
            "state": "unparseable",
            "choice": None,
        },
    ],
    "overrides": [
        {
            "rater": "lead1",
            "pair": [0, 1],
            "judge": "gpt-3.5-turbo",
            "choice": 1,
            "reason": "wrong name",
            "at": "2026-01-02T03:04:05+00:00",
        }
    ],
    "scores": [{"judge": "gpt-4", "completion": 0, "value": 7.5, "state": "ok"}],
}


def lines(*values) -> io.BytesIO:
    return io.BytesIO(b"".join(v if isinstance(v, bytes) else orjson.dumps(v) + b"\n" for v in values))


def simple(record_id="a", **changes):
    return {"id": record_id, "prompt": "p", "completions": [{"text": "x"}, {"text": "y"}]} | changes


def test_the_whole_form_is_read_and_written_without_loss():
    record = parse_record(FULL)
    assert orjson.loads(write_record(record)) == FULL
    assert parse_line(write_record(record)) == record


def test_only_id_prompt_and_completions_are_needed():
    record = parse_record(simple())
    assert (record.split, record.gold, record.votes) == (None, (), ())
    assert json.loads(write_record(record)) == simple()
    assert comparisons_of(parse_record(simple(completions=[]))) == ()


def test_a_turned_pair_is_stored_lower_index_first_with_the_rest_mapped_along():
    record = parse_record(
        simple(
            gold=[{"pair": [1, 0], "choice": 0}],
            votes=[{"rater": "r", "pair": [1, 0], "choice": 1, "order": [1, 0]}],
            verdicts=[
                {"judge": "j", "pair": [1, 0], "order": [0, 1], "choice": 0, "p_first": 0.75},
                {"judge": "k", "pair": [1, 0], "choice": "tie"},
            ],
            overrides=[{"rater": "r", "pair": [1, 0], "choice": 0}],
        )
    )
    assert record.gold == (Gold((0, 1), 1),)
    # The pair [1, 0] shown in the order [1, 0] shows completion 0 first.
    assert record.votes == (RecordVote("r", (0, 1), 0, order=(0, 1)),)
    assert record.verdicts[0] == RecordVerdict("j", (0, 1), (1, 0), choice=1, p_first=0.25)
    assert record.verdicts[1].order == (1, 0)  # no order: shown as the pair lists it
    assert record.overrides[0].choice == 1
    assert parse_line(write_record(record)) == record


def test_two_spellings_of_one_record_have_one_hash():
    a = simple(metadata={"a": 1, "b": 2}, gold=[{"pair": [0, 1], "choice": 1}])
    b = simple(gold=[{"choice": 0, "pair": [1, 0]}], metadata={"b": 2, "a": 1}, votes=[], split=None)
    assert content_hash(parse_record(a)) == content_hash(parse_record(b))
    assert content_hash(parse_record(a)) != content_hash(parse_record(simple(gold=[{"pair": [0, 1], "choice": 0}])))


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
NAME = TEXT.filter(lambda s: s.strip())
CHOICES = st.sampled_from([0, 1, "tie", "both_bad"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
METADATA = st.dictionaries(TEXT, JSON, max_size=3)


@st.composite
def records(draw):
    n = draw(st.integers(2, 4))
    pair = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda p: p[0] < p[1])
    order = st.sampled_from([(0, 1), (1, 0)])
    probability = st.none() | st.floats(0, 1)
    groups = st.permutations(range(n)).map(lambda order: tuple((i,) for i in order))
    verdict = st.builds(RecordVerdict, NAME, pair, order, st.integers(0, 3), st.just("ok"), CHOICES, probability, TEXT)
    failed = st.builds(RecordVerdict, NAME, pair, order, st.integers(0, 3), st.sampled_from(["unparseable", "error"]))
    unique = st.lists(verdict | failed, max_size=3, unique_by=lambda v: (v.judge, v.pair, v.order, v.sample))
    gold = st.lists(st.builds(Gold, pair, CHOICES), max_size=2, unique_by=lambda g: g.pair)
    vote_choice = CHOICES | st.sampled_from(UNLABELLED)
    vote = st.builds(RecordVote, NAME, pair, vote_choice, st.none() | order, seconds=st.none() | st.floats(0, 1e6))
    vote |= st.builds(RecordVote, NAME, pair, st.sampled_from([0, 1]), strength=st.sampled_from(STRENGTHS))
    message = st.fixed_dictionaries({"role": NAME, "content": TEXT})
    return Record(
        id=draw(NAME),
        prompt=draw(TEXT | st.lists(message, min_size=1, max_size=2).map(tuple)),
        completions=tuple(draw(st.lists(st.builds(RecordCompletion, TEXT, TEXT, METADATA), min_size=n, max_size=n))),
        split=draw(st.sampled_from([None, "train", "eval"])),
        metadata=draw(METADATA),
        gold=tuple(draw(gold)),
        votes=tuple(draw(st.lists(vote, max_size=2))),
        rankings=tuple(draw(st.lists(st.builds(RecordRanking, groups, rater=NAME), max_size=1))),
        verdicts=tuple(draw(unique)),
        overrides=tuple(draw(st.lists(st.builds(RecordOverride, NAME, pair, CHOICES, TEXT, TEXT), max_size=1))),
        scores=tuple(draw(st.lists(st.builds(RecordScore, NAME, st.integers(0, n - 1), st.floats(-9, 9)), max_size=1))),
    )


@pytest.mark.slow
@settings(deadline=None, max_examples=80)
@given(records())
def test_any_record_comes_back_from_its_own_line_and_the_line_from_it(record):
    line = write_record(record)
    assert line.count(b"\n") == 1
    (again,) = read_records(io.BytesIO(line))
    assert again == record
    assert write_record(again) == line
    assert content_hash(again) == content_hash(record)


def test_a_record_has_the_comparisons_it_names_else_all_pairs():
    three = [{"text": t} for t in "abc"]
    assert comparisons_of(parse_record(simple(completions=three))) == ((0, 1), (0, 2), (1, 2))
    named = simple(
        completions=three, gold=[{"pair": [2, 1], "choice": 0}], votes=[{"rater": "r", "pair": [0, 2], "choice": 0}]
    )
    assert comparisons_of(parse_record(named)) == ((0, 2), (1, 2))
    ranked = simple(completions=three, rankings=[{"rater": "r", "groups": [[0], [1]]}])
    assert len(comparisons_of(parse_record(ranked))) == 3


def test_outcomes_and_choices_are_the_same_thing():
    assert [choice_of(o) for o in OUTCOMES] == [0, 1, "tie", "both_bad"]
    assert [outcome_of(choice_of(o)) for o in OUTCOMES] == list(OUTCOMES)
    assert [outcome_of(None, p_first=p) for p in (0.9, 0.1, 0.5, None)] == ["first", "second", "tie", None]


def test_a_pair_may_be_left_out_where_there_are_just_two():
    assert parse_record(simple(gold=[{"choice": 1}])).gold == (Gold((0, 1), 1),)


def test_a_bad_line_7_of_10_is_refused_with_its_number_and_why():
    rows = [simple(f"q{i}") for i in range(1, 11)]
    rows[6]["completions"][1]["text"] = 5
    with pytest.raises(RecordsError) as caught:
        list(read_records(lines(*rows)))
    assert str(caught.value) == "line 7: completions[1].text is not a string"
    assert [(e.line, e.message) for e in caught.value.errors] == [(7, "completions[1].text is not a string")]
    assert isinstance(caught.value, PrefloopError)


def test_no_record_after_the_first_bad_line_comes_out_and_all_errors_are_gathered():
    records = read_records(lines(simple("a"), b"{\n", simple("b"), b"[]\n", simple("c", prompt=None)))
    assert next(records).id == "a"
    with pytest.raises(RecordsError) as caught:
        next(records)
    assert [e.line for e in caught.value.errors] == [2, 4, 5]
    assert str(caught.value).startswith("line 2: is not valid JSON")
    assert str(caught.value).endswith("(and 2 more)")


def test_fifty_errors_are_enough():
    with pytest.raises(RecordsError, match=r"and at least 49 more") as caught:
        list(read_records(lines(*[b"{}\n"] * 1000)))
    assert len(caught.value.errors) == 50


def test_blank_lines_a_byte_order_mark_and_a_missing_last_newline_are_fine():
    stream = io.BytesIO(b"\xef\xbb\xbf" + orjson.dumps(simple("a")) + b"\r\n\n  \n" + orjson.dumps(simple("b")))
    assert [r.id for r in read_records(stream)] == ["a", "b"]


def test_the_same_id_again_is_skipped_if_equal_and_refused_if_not():
    assert len(list(read_records(lines(simple("a"), simple("a", votes=[]))))) == 1
    with pytest.raises(RecordsError, match="line 2: id 'a' is that of line 1, with other content"):
        list(read_records(lines(simple("a"), simple("a", prompt="other"))))


def test_a_line_over_the_limit_is_refused_and_the_next_is_still_read(monkeypatch):
    monkeypatch.setattr(read_module, "MAX_LINE_BYTES", 200)
    with pytest.raises(RecordsError) as caught:
        list(read_records(lines(simple("a", prompt="x" * 300), b"{\n")))
    assert caught.value.errors[0].text == "line 1: is longer than 200 bytes"
    assert caught.value.errors[1].line == 2


def test_deep_nesting_is_refused_before_it_hurts():
    deep = b'{"id":"a","prompt":"p","completions":[],"metadata":' + b'{"a":' * 70 + b"1" + b"}" * 70 + b"}\n"
    with pytest.raises(RecordsError, match="line 1: metadata is nested deeper than 64"):
        list(read_records(io.BytesIO(deep)))
    deeper = b"[" * 100_000 + b"]" * 100_000 + b"\n"
    with pytest.raises(RecordsError, match="line 1: is not valid JSON"):
        list(read_records(io.BytesIO(deeper)))


def test_a_nul_character_is_refused_and_an_escaped_backslash_is_not_one():
    with pytest.raises(InvalidRecord, match="NUL"):
        parse_line(orjson.dumps(simple(prompt="a\0b")))
    assert parse_line(orjson.dumps(simple(prompt="a\\u0000b"))).prompt == "a\\u0000b"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id": ""}, "id is empty"),
        ({"id": 5}, "id is not a string"),
        ({"id": None}, "id is not a string"),
        ({"id": "x" * 201}, "id is longer than 200 characters"),
        ({"split": "test"}, "split is neither"),
        ({"prompt": 1}, "prompt is neither text nor a list"),
        ({"prompt": []}, "prompt is an empty list"),
        ({"prompt": [{"role": "user"}]}, "prompt[0].content is missing"),
        ({"completions": None}, "completions is missing"),
        ({"completions": {}}, "completions is not a list"),
        ({"completions": ["x"]}, "completions[0] is not an object"),
        ({"completions": [{"model": "m"}]}, "completions[0].text is missing"),
        ({"completions": [{"text": None}]}, "completions[0].text is not a string"),
        ({"metadata": []}, "metadata is not an object"),
        ({"vote": []}, "unknown key 'vote'"),
        ({"gold": [{"pair": [0, 2], "choice": 0}]}, "gold[0].pair names completion 2, and there are 2"),
        ({"gold": [{"pair": [0, 0], "choice": 0}]}, "gold[0].pair names completion 0 twice"),
        ({"gold": [{"pair": [0, True], "choice": 0}]}, "gold[0].pair is not two completion indices"),
        ({"gold": [{"pair": [0, 1], "choice": True}]}, "gold[0].choice is not one of 0, 1, 'tie', 'both_bad'"),
        ({"gold": [{"pair": [0, 1], "choice": "skip"}]}, "gold[0].choice is not one of"),
        ({"gold": [{"pair": [0, 1]}]}, "gold[0].choice is missing"),
        ({"gold": [{"choice": 0}, {"pair": [1, 0], "choice": 0}]}, "gold[1] is on the same pair as gold[0]"),
        ({"votes": [{"pair": [0, 1], "choice": 0}]}, "votes[0].rater is missing"),
        ({"votes": [{"rater": " ", "choice": 0}]}, "votes[0].rater is empty"),
        ({"votes": [{"rater": "r", "choice": 0, "order": [0, 0]}]}, "votes[0].order is neither"),
        ({"votes": [{"rater": "r", "choice": 0, "at": "yesterday"}]}, "votes[0].at is not an ISO 8601 time"),
        ({"votes": [{"rater": "r", "choice": 0, "seconds": -1}]}, "votes[0].seconds is not in"),
        ({"rankings": [{"groups": [[0]]}]}, "rankings[0] needs one of rater and judge"),
        ({"rankings": [{"rater": "r", "groups": [[0], [0]]}]}, "rankings[0].groups names a completion twice"),
        ({"rankings": [{"rater": "r", "groups": [[9]]}]}, "is not one of the 2 completions"),
        ({"rankings": [{"rater": "r", "groups": [[]]}]}, "rankings[0].groups is not a list of non-empty lists"),
        ({"verdicts": [{"judge": "j", "choice": 0, "state": "lost"}]}, "verdicts[0].state is not one of"),
        ({"verdicts": [{"judge": "j"}]}, "verdicts[0] is ok but has neither choice nor p_first"),
        ({"verdicts": [{"judge": "j", "choice": 0, "state": "error"}]}, "verdicts[0] is error but has a choice"),
        ({"verdicts": [{"judge": "j", "choice": 0, "p_first": 1.5}]}, "verdicts[0].p_first is not in [0, 1]"),
        ({"verdicts": [{"judge": "j", "choice": 0, "sample": -1}]}, "verdicts[0].sample is not a whole number"),
        ({"verdicts": [{"judge": "j", "choice": 0}] * 2}, "verdicts[1] has the judge, pair, order and sample of"),
        ({"overrides": [{"rater": "r"}]}, "overrides[0].choice is missing"),
        ({"scores": [{"judge": "j", "completion": 5, "value": 1}]}, "scores[0].completion is not one of the 2"),
        ({"scores": [{"judge": "j", "completion": 0}]}, "scores[0].value is missing"),
        ({"scores": [{"judge": "j", "completion": 0, "value": "7"}]}, "scores[0].value is not a number"),
        ({"scores": [{"judge": "j", "completion": 0, "value": 1, "flag": 1}]}, "scores[0].flag is neither true nor"),
        ({"scores": [{"judge": "j", "completion": 0, "value": 2, "flag": True}]}, "scores[0].value is neither 1 nor 0"),
    ],
)
def test_each_way_to_be_wrong_is_named(changes, says):
    with pytest.raises(InvalidRecord) as caught:
        parse_record(simple() | changes)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(
    st.recursive(JSON, lambda x: st.dictionaries(st.sampled_from([*FULL, "pair", "choice", "text"]), x), max_leaves=8)
)
def test_whatever_json_comes_it_is_a_record_or_a_clear_refusal(value):
    try:
        record = parse_record(value)
    except InvalidRecord:
        return
    assert parse_line(write_record(record)) == record


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_one_value_gone_wrong_anywhere_in_a_record_never_crashes_the_reader(data):
    value = orjson.loads(orjson.dumps(FULL))
    node, key = value, "id"
    while True:
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else list(range(len(node)))))
        if not isinstance(node[key], dict | list) or not node[key] or data.draw(st.booleans()):
            break
        node = node[key]
    node[key] = data.draw(JSON)
    try:
        record = parse_record(value)
    except InvalidRecord:
        return
    assert parse_line(write_record(record)) == record
