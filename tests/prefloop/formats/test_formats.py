from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefloop.formats import (
    READERS,
    WRITERS,
    PreferenceRow,
    UnknownFormat,
    detect_format,
    read_file,
    write_records,
)
from prefloop.formats.rows import UnreadableFile
from prefloop.records import InvalidRecord, RecordsError, outcome_of, parse_record, read_records
from prefloop.types import PrefloopError

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"

CHAT = [{"role": "user", "content": "Hi"}]
ROWS = {
    "explicit": {"prompt": "Q", "chosen": "good", "rejected": "bad"},
    "explicit chat": {
        "prompt": CHAT,
        "chosen": [{"role": "assistant", "content": "good"}],
        "rejected": [{"role": "assistant", "content": "bad"}],
    },
    "implicit": {"chosen": "Q: yes", "rejected": "Q: no"},
    "implicit chat": {
        "chosen": [*CHAT, {"role": "assistant", "content": "good"}],
        "rejected": [*CHAT, {"role": "assistant", "content": "bad"}],
    },
    "prompt beside conversations": {
        "prompt": "Hi",
        "chosen": [*CHAT, {"role": "assistant", "content": "good"}],
        "rejected": [*CHAT, {"role": "assistant", "content": "bad"}],
    },
}


@pytest.fixture
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip("shared-data")
    return SHARED


def write(path: Path, *rows) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(list(rows)))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def labelled(record):
    """Give the prompt, the preferred answer and the other one."""
    (said,) = record.verdicts or record.votes
    texts = [c.text for c in record.completions]
    return record.prompt, texts[said.choice], texts[1 - said.choice]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
@pytest.mark.parametrize("form", ROWS)
def test_trl_preferences_are_read_in_each_form_and_file(tmp_path, form, suffix):
    path = write(tmp_path / f"d{suffix}", ROWS[form])
    assert detect_format(path) == "trl"
    (record,) = read_file(path)
    expected = {
        "explicit": ("Q", "good", "bad"),
        "implicit": ("Q:", " yes", " no"),
    }.get(form, (tuple(CHAT), "good", "bad"))
    assert labelled(record) == expected
    assert record.verdicts[0].judge == "dataset"
    assert record.gold == ()  # a training set's labels are not held-out truth


def test_trl_reads_csv_with_commas_and_line_breaks_in_its_cells(tmp_path):
    path = write(tmp_path / "d.csv", {"prompt": 'a, "b"\nc', "chosen": "x\ny", "rejected": ""})
    (record,) = read_file(path)
    assert labelled(record) == ('a, "b"\nc', "x\ny", "")


def test_trl_reads_unpaired_rows_as_flags(tmp_path):
    rows = [{"prompt": "Q", "completion": f"a{i}", "label": label} for i, label in enumerate([True, False])]
    for suffix in (".jsonl", ".csv"):
        good, bad = read_file(write(tmp_path / f"d{suffix}", *rows))
        assert [(row.value, row.flag) for row in (*good.scores, *bad.scores)] == [(1.0, True), (0.0, True)]
        assert (len(good.completions), good.completions[0].text) == (1, "a0")


def test_trl_reads_prompts_completions_and_conversations_without_labels(tmp_path):
    rows = [
        {"prompt": "Q"},
        {"prompt": CHAT, "completion": [{"role": "assistant", "content": "A"}]},
        {"messages": [*CHAT, {"role": "assistant", "content": "B"}]},
    ]
    only, completed, chat = read_file(write(tmp_path / "d.jsonl", *rows))
    assert (only.prompt, only.completions) == ("Q", ())
    assert (completed.prompt, completed.completions[0].text, completed.scores) == (tuple(CHAT), "A", ())
    assert (chat.prompt, chat.completions[0].text) == (tuple(CHAT), "B")


def test_other_columns_are_kept_as_metadata(tmp_path):
    (record,) = read_file(write(tmp_path / "d.jsonl", ROWS["explicit"] | {"source": "web", "n": 3, "empty": None}))
    assert record.metadata == {"source": "web", "n": 3}


def test_the_preferred_answer_is_not_always_first(tmp_path):
    rows = [{"prompt": f"Q{i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(200)]
    choices = [r.verdicts[0].choice for r in read_file(write(tmp_path / "d.jsonl", *rows))]
    assert 60 < sum(choices) < 140


def test_the_same_file_gives_the_same_ids_and_equal_rows_are_items_of_their_own(tmp_path):
    path = write(tmp_path / "d.jsonl", ROWS["explicit"], ROWS["explicit"], ROWS["implicit"])
    ids = [r.id for r in read_file(path)]
    assert len(set(ids)) == 3
    assert ids[1] == f"{ids[0]}-2"
    assert [r.id for r in read_file(shutil.copy(path, tmp_path / "other.jsonl"))] == ids


def test_bad_rows_are_named_by_line_or_row(tmp_path):
    rows = [ROWS["explicit"], {"prompt": "Q", "chosen": 5, "rejected": "b"}, {"chosen": "x"}, {"other": 1}]
    with pytest.raises(RecordsError) as caught:
        list(read_file(write(tmp_path / "d.jsonl", *rows)))
    assert [e.text for e in caught.value.errors] == [
        "line 2: chosen is not a string",
        "line 3: rejected is missing",
        "line 4: has none of chosen and rejected, completion, messages, prompt",
    ]
    with pytest.raises(RecordsError, match=r"^row 2: chosen is not a string"):
        list(read_file(write(tmp_path / "d.json", *rows)))


HH = (
    "\n\nHuman: What is 1+1?\n\nAssistant: {}\n\nHuman: Sure?\n\nAssistant: {}",
    [
        {"role": "user", "content": "What is 1+1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "Sure?"},
    ],
)


def test_hh_transcripts_are_split_at_the_last_answer_and_are_a_persons_vote(tmp_path):
    text, prompt = HH
    path = write(tmp_path / "d.jsonl", {"chosen": text.format("2", "Yes."), "rejected": text.format("2", "")})
    assert detect_format(path) == "hh"
    (record,) = read_file(path)
    assert labelled(record) == (tuple(prompt), "Yes.", "")
    assert record.votes[0].rater == "crowdworker"


def test_hh_transcripts_that_part_earlier_keep_the_rest_in_the_answers(tmp_path):
    text, prompt = HH
    path = write(tmp_path / "d.jsonl", {"chosen": text.format("2", "Yes."), "rejected": text.format("3", "No.")})
    (record,) = read_file(path)
    assert labelled(record) == (
        tuple(prompt[:1]),
        "2\n\nHuman: Sure?\n\nAssistant: Yes.",
        "3\n\nHuman: Sure?\n\nAssistant: No.",
    )


def test_hh_refuses_what_is_no_transcript(tmp_path):
    path = write(tmp_path / "d.jsonl", {"chosen": "hello", "rejected": "hi"})
    with pytest.raises(RecordsError, match="line 1: chosen does not start with a turn"):
        list(read_file(path, format_name="hh"))


@pytest.mark.slow
def test_the_demo_pairs_are_read_as_what_they_are(shared_data):
    dpo, kto = (shared_data / "demo_pairs" / f"{name}_en_demo.json" for name in ("dpo", "kto"))
    assert (detect_format(dpo), detect_format(kto)) == ("sharegpt", "sharegpt")
    pairs, rated = list(read_file(dpo)), list(read_file(kto))
    assert (len(pairs), len(rated)) == (300, 300)
    source = json.loads(dpo.read_text())
    for record, row in zip(pairs, source, strict=True):
        prompt, chosen, rejected = labelled(record)
        assert (chosen, rejected) == (row["chosen"]["value"], row["rejected"]["value"])
        assert [m["content"] for m in prompt] == [m["value"] for m in row["conversations"]]
        assert {m["role"] for m in prompt} <= {"system", "user", "assistant"}
    labels = [row["label"] for row in json.loads(kto.read_text())]
    assert [bool(r.scores[0].value) for r in rated] == labels
    assert all(r.prompt[-1]["role"] == "user" for r in rated)


def test_llmbar_natural_is_read_with_both_orders_of_six_judges(shared_data):
    path = shared_data / "llmbar_natural"
    assert detect_format(path) == "llmbar"
    records = list(read_file(path))
    assert len(records) == 100
    assert records[0].id == "llmbar_natural-0001"
    judges = {v.judge for r in records for v in r.verdicts}
    assert "GPT-4/Vanilla_NoRules" in judges
    assert len(judges) == 6
    assert all(len(r.verdicts) == 12 for r in records)
    assert sum(r.gold[0].choice == 0 for r in records) == 42
    palm = [v for r in records for v in r.verdicts if v.judge == "PaLM2/Vanilla_NoRules" and v.state != "ok"]
    assert [v.state for v in palm] == ["unparseable"] * 6
    assert [v.order for v in records[0].verdicts[:2]] == [(0, 1), (1, 0)]
    assert records[0].verdicts[0].raw == "Output (a)"


def test_llmbar_results_of_another_data_set_are_refused(shared_data, tmp_path):
    copy = Path(shutil.copytree(shared_data / "llmbar_natural", tmp_path / "bar"))
    result = copy / "GPT-4" / "Vanilla" / "result.json"
    rows = json.loads(result.read_text())
    rows[4]["output_1"] = "else"
    result.write_text(json.dumps(rows))
    with pytest.raises(RecordsError, match=r"^item 5: GPT-4/Vanilla judged another item at this place"):
        list(read_file(copy))
    result.write_text(json.dumps(rows[:5]))
    with pytest.raises(UnreadableFile, match="5 results for 100 items"):
        list(read_file(copy))


def test_the_vicuna_blog_is_read_as_eighty_questions_of_five_models(shared_data):
    path = shared_data / "vicuna_blog"
    assert detect_format(path) == "vicuna"
    records = list(read_file(path))
    assert len(records) == 80
    assert all(len(r.completions) == 5 and len(r.verdicts) == 4 for r in records)
    assert {v.judge for r in records for v in r.verdicts} == {f"gpt-4-0328-{k}" for k in ("generic", "coding", "math")}
    first = records[0]
    assert first.metadata == {"category": "generic"}
    bard = next(v for v in first.verdicts if "bard" in first.completions[v.pair[0]].model)
    assert (bard.choice, bard.order) == (0, (0, 1))  # 9 to 8.5, Bard shown first
    assert bard.raw.startswith("9 8.5")


def test_whole_records_are_read_again_from_what_was_written(shared_data, tmp_path):
    for name in ("llmbar_natural", "vicuna_blog"):
        records = list(read_file(shared_data / name))
        path = tmp_path / f"{name}.jsonl"
        path.write_bytes(b"".join(write_records(records)))
        assert detect_format(path) == "records"
        assert list(read_file(path)) == records


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("d.txt", "x", "its name ends in none of"),
        ("d.json", "{", "is not valid JSON"),
        ("d.jsonl", "", "no row in it could be read"),
        ("d.jsonl", "oops\n", "no row in it could be read"),
        ("d.jsonl", '{"a": 1}', "no format has the keys a"),
        ("d.parquet", "x", "is not a Parquet file"),
        (None, None, "no such file or directory"),
        ("", None, "neither dataset.json"),
    ],
)
def test_what_is_in_no_format_is_said_in_one_line(tmp_path, name, content, says):
    path = tmp_path / ("none" if name is None else name)
    if content is not None:
        path.write_text(content)
    with pytest.raises(PrefloopError) as caught:
        detect_format(path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_format_that_is_not_known_or_does_not_fit_is_refused(tmp_path):
    path = write(tmp_path / "d.jsonl", ROWS["explicit"])
    with pytest.raises(UnknownFormat, match="unknown format 'x'; known: auto, records"):
        read_file(path, format_name="x")
    with pytest.raises(UnknownFormat, match="llmbar is read from a directory"):
        read_file(path, format_name="llmbar")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnknownFormat, match="trl is read from a file, or a directory of files of one kind"):
        read_file(tmp_path / "empty", format_name="trl")


def test_every_reader_answers_rubbish_with_one_clear_line(tmp_path):
    path = tmp_path / "d.jsonl"
    for rubbish in (b"\xff\xfe\x00", b"null\n", b"[1]\n", b'{"prompt": {}}\n', b"{" * 5000):
        path.write_bytes(rubbish)
        for name in READERS:
            with pytest.raises(PrefloopError) as caught:
                list(read_file(path, format_name=name))
            assert "\n" not in str(caught.value)


PAIRS = [
    PreferenceRow("a", "Q", "x", "y", outcome="first", source="human", first_model="m"),
    PreferenceRow("b", "Q", "x", "y", outcome="second", p_first=0.1),
    PreferenceRow("c", "Q", "x", "y", outcome="tie"),
    PreferenceRow("d", "R", "x", "y", outcome="both_bad"),
    PreferenceRow("e", tuple(CHAT), "x", "y", p_first=0.8, source="judge:gpt"),
    PreferenceRow("f", "S", "x", "y"),
]


def written(name, rows=PAIRS):
    return [orjson.loads(line) for line in WRITERS[name](rows)]


def test_trl_export_has_chosen_and_rejected_of_what_was_decided():
    assert written("trl") == [
        {"prompt": "Q", "chosen": "x", "rejected": "y"},
        {"prompt": "Q", "chosen": "y", "rejected": "x"},
        {
            "prompt": CHAT,
            "chosen": [{"role": "assistant", "content": "x"}],
            "rejected": [{"role": "assistant", "content": "y"}],
        },
    ]


def test_implicit_export_has_the_prompt_in_both():
    assert written("trl-implicit", PAIRS[:1]) == [{"chosen": "Qx", "rejected": "Qy"}]
    assert written("trl-implicit", PAIRS[4:5])[0]["chosen"] == [*CHAT, {"role": "assistant", "content": "x"}]


def test_kto_export_is_unpaired_and_both_bad_is_two_bad_ones():
    rows = written("kto", PAIRS[:4])
    assert [(r["prompt"], r["completion"], r["label"]) for r in rows] == [
        *(("Q", "x", True), ("Q", "y", False), ("Q", "x", False), ("Q", "y", True)),
        *(("R", "x", False), ("R", "y", False)),
    ]


def test_prompt_and_sft_exports_have_each_different_row_once():
    assert written("prompt-only") == [{"prompt": "Q"}, {"prompt": "R"}, {"prompt": CHAT}, {"prompt": "S"}]
    assert written("sft", [*PAIRS[:2], PAIRS[0]]) == [
        {"prompt": "Q", "completion": "x"},
        {"prompt": "Q", "completion": "y"},
    ]


def test_records_export_keeps_every_row_with_its_soft_label_and_where_it_came_from():
    lines = list(WRITERS["records"](PAIRS))
    records = [parse_record(orjson.loads(line)) for line in lines]
    assert [r.id for r in records] == list("abcdef")
    said = [(v.judge, outcome_of(v.choice, p_first=v.p_first), v.p_first) for r in records for v in r.verdicts]
    assert said == [
        *(("human", "first", None), ("effective", "second", 0.1), ("effective", "tie", None)),
        *(("effective", "both_bad", None), ("gpt", "first", 0.8)),
    ]
    assert records[0].completions[0].model == "m"


@pytest.mark.parametrize("form", ["trl", "trl-implicit"])
def test_what_is_exported_is_imported_with_the_same_preferences(tmp_path, form):
    rows = [
        PreferenceRow("a", "Question one. ", "good", "bad", outcome="first"),
        PreferenceRow("b", tuple(CHAT), "ill", "well", outcome="second"),
    ]
    path = tmp_path / "d.jsonl"
    path.write_bytes(b"".join(WRITERS[form](rows)))
    assert list(WRITERS[form](rows)) == path.read_bytes().splitlines(keepends=True)
    first, second = (labelled(r) for r in read_file(path))
    joined = (first[0] + first[1], first[0] + first[2])
    assert joined == ("Question one. good", "Question one. bad")
    assert second == (tuple(CHAT), "well", "ill")


def test_records_are_streamed_and_not_held(tmp_path):
    """The first record comes before a bad line further down is met."""
    path = tmp_path / "d.jsonl"
    path.write_bytes(orjson.dumps({"id": "a", "prompt": "p", "completions": []}) + b"\nbad\n")
    with path.open("rb") as stream:
        records = read_records(stream)
        assert next(records).id == "a"
        with pytest.raises(RecordsError):
            next(records)


def test_invalid_records_are_errors_a_user_can_read():
    with pytest.raises(InvalidRecord, match="prompt is missing"):
        parse_record({"id": "a", "completions": []})
