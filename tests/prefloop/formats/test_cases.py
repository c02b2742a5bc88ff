"""Files that people bring to such tools, each with what is right: the records and notes, or why it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefloop.formats import Mapping, Notes, read_file
from prefloop.types import PrefloopError

CASES = Path(__file__).parent / "cases"


def system(text, question):
    return ({"role": "system", "content": text}, {"role": "user", "content": question})


def decided(record):
    """Prompt, better answer, worse answer of a record with one label."""
    (said,) = record.votes or record.verdicts
    texts = [answer.text for answer in record.completions]
    return record.prompt, texts[said.choice], texts[1 - said.choice]


def read(name, notes=None, **options):
    return list(read_file(CASES / name, notes=notes, **options))


@pytest.mark.parametrize(
    ("name", "right"),
    [
        (
            "c01_instruction.jsonl",
            [
                ("Name the largest planet.", "Jupiter is the largest.", "Mars, I think."),
                ("Spell cat.", "c, a, t", "k, a, t"),
            ],
        ),
        (
            "c01b_orca.jsonl",
            [
                (
                    system("You answer in one word.", "Which colour has the sky?"),
                    "Blue",
                    "Blueish, or perhaps something else.",
                )
            ],
        ),
        ("c02_system.jsonl", [(system("You are a pirate.", "Say hello."), "Ahoy!", "Hello.")]),
        ("c03_parts.jsonl", [(({"role": "user", "content": "What is two and two?"},), "Four.", "Five.")]),
        ("c27b_struct_of_lists.parquet", [(({"role": "user", "content": "Q"},), "yes", "no")]),
        ("c27c_bytes.parquet", [("Q", "yes", "no")]),
        ("c27d_json_text.jsonl", [(({"role": "user", "content": "Q"},), "yes", "no")]),
        ("c17_spaces.jsonl", [("TL;DR:", " Short.", " Longer text."), ("", "a", "b"), ("Q2", "", "b")]),
    ],
)
def test_pairs_of_other_tools_have_their_question_and_their_answers(name, right):
    assert [decided(record) for record in read(name)] == right


@pytest.mark.parametrize(
    ("name", "rankings"),
    [
        ("c05_argilla_rank_values.json", [[("u1", ((0,), (2,), (1,)))], [("u1", ((1,), (0,), (2,)))]]),
        ("c07b_argilla_suggested_ranking.json", [[("gpt", ((2,), (0,), (1,)))]]),
        ("c08_argilla_status.json", [[("u1", ((0, 1), (2,)))]]),
        ("c08b_argilla_ranking.json", [[("u1", ((0,), (1,), (2,))), ("u2", ((0,), (2,), (1,)))]]),
    ],
)
def test_rankings_keep_their_order_and_their_ties(name, rankings):
    records = read(name)
    assert [[(r.rater or r.judge, r.groups) for r in record.rankings] for record in records] == rankings
    assert not any(record.votes or record.verdicts for record in records)  # a discarded one is no skip of one pair


def test_only_the_comparing_question_is_a_vote_and_ratings_of_answers_are_scores():
    notes = Notes()
    first, second = read("c06_argilla_rating.json", notes)
    assert decided(first) == ("Name a fruit.", "Apple", "Brick")
    assert (second.votes, second.verdicts) == ((), ())
    said = [(score.judge, score.completion, score.value) for score in second.scores]
    assert said == [
        (f"{who}/overall_rating", i, v)
        for who, values in (("u2", (4, 2)), ("gpt", (5, 1)))
        for i, v in enumerate(values)
    ]
    assert notes == {"Argilla responses to 'quality_of_prompt' that do not compare the answers": 1}


def test_label_studios_ranker_and_rating_are_read():
    (ranked,) = read("c11_ls_ranker.json")
    assert decided(ranked) == ("Q1", "good", "bad")
    assert ranked.votes[0].rater == "label-studio-4"
    (rated,) = read("c11b_ls_rating.json")
    assert [(s.judge, s.completion, s.value) for s in rated.scores] == [
        ("label-studio-4/rating", 0, 5.0),
        ("label-studio-4/rating", 1, 1.0),
    ]


def test_a_task_exported_twice_is_one_item():
    notes = Notes()
    (record,) = read("c32_ls_duplicates.json", notes)
    assert (record.id, [(v.rater, v.choice) for v in record.votes]) == (
        "label-studio-1",
        [("label-studio-4", 0), ("label-studio-5", 1)],
    )
    assert sum(notes.values()) == 1


def test_rows_of_one_pair_are_the_votes_of_its_raters(tmp_path):
    records = read("c31b_raters_ids.csv")
    assert [len(record.votes) for record in records] == [3] * 6
    assert [v.choice for v in records[0].votes] == [0, 1, 0]
    assert {v.rater for v in records[0].votes} == {"ann", "bob", "cy"}
    without = tmp_path / "without_ids.csv"
    lines = (CASES / "c31b_raters_ids.csv").read_text().splitlines()
    without.write_text("".join(line.split(",", 1)[1] + "\n" for line in lines))
    assert [r.votes for r in read_file(without)] == [r.votes for r in records]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("c04_tools.jsonl", "line 1: tools defines tools"),
        ("c04b_tools_null.jsonl", r"line 1: chosen\[0\] calls a tool \(lamp\)"),
        ("c14d_all_nan.jsonl", "line 1: margin is NaN"),
        ("c16b_nul.jsonl", "line 1: chosen holds a NUL"),
        ("c16i_nul.csv", "row 1: chosen holds a NUL"),
        ("c16c_surrogate.jsonl", "line 1: chosen holds half a character"),
        ("c16f_bigint.jsonl", "line 1: id is a whole number of 30 digits"),
        ("c28c_cp1252.csv", "row 1: chosen is not UTF-8 text: .*Windows-1252 it reads 'café'.*encoding=cp1252"),
        ("c29b_dup_ids.csv", "row 2: is about the same item as row 1 .*another prompt"),
    ],
)
def test_what_would_be_wrong_is_refused_with_its_row_and_reason(name, why):
    with pytest.raises(PrefloopError, match=why):
        read(name)


def test_a_named_encoding_reads_the_file():
    (record,) = read("c28c_cp1252.csv", format_name="table", mapping=Mapping(encoding="cp1252"))
    assert decided(record) == ("Q", "café", "no")


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("c17_spaces.jsonl", "rows with two equal answers, which express no preference, left out"),
        ("c27c_bytes.parquet", "fields of bytes (image) left out"),
        ("c08_argilla_status.json", "Argilla responses that were not submitted (draft)"),
        ("c08_argilla_status.json", "Argilla responses that were discarded"),
    ],
)
def test_what_is_left_out_is_counted(name, note):
    notes = Notes()
    read(name, notes)
    assert notes[note] == 1
