"""The same rows get the same answer in every container, and a zip is read as the directory in it."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefloop.formats import Mapping, Notes, read_file
from prefloop.formats.archives import unpacked
from prefloop.formats.messages import shared_prefix
from prefloop.formats.opening import UnreadableFile
from prefloop.types import PrefloopError

GOOD = {"prompt": "p", "chosen": "a", "rejected": "b"}


def write(folder, rows, suffix):
    path = folder / f"data{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8", errors="surrogatepass") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t" if suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    else:
        text = (
            json.dumps(rows)
            if suffix.startswith(".json.") or suffix == ".json"
            else "".join(json.dumps(r) + "\n" for r in rows)
        )
        path.write_bytes(gzip.compress(text.encode()) if suffix.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".json", ".jsonl.gz", ".json.gz", ".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize(
    ("odd", "why", "without"),
    [
        ({"chosen": "a\0"}, "chosen holds a NUL character", ()),
        ({"chosen": "a\ud83d"}, "chosen holds half a character|chosen is not UTF-8", (".parquet",)),
        ({"n": float("nan")}, "n is NaN", (".csv", ".tsv")),
        ({"n": float("-inf")}, "n is -inf", (".csv", ".tsv")),
        ({"n": 10**29}, "n is a whole number of 30 digits", (".csv", ".tsv", ".parquet")),
    ],
)
def test_a_bad_value_is_refused_alike_with_its_row(tmp_path, suffix, odd, why, without):
    if suffix in without:  # which can't hold it, or keeps it as the text that it is
        return
    path = write(tmp_path, [GOOD | dict.fromkeys(odd, "x" if "chosen" in odd else 1), GOOD | odd], suffix)
    with pytest.raises(PrefloopError, match=rf"^(line|row) 2: ({why})"):
        list(read_file(path))


def test_a_number_in_a_table_of_texts_keeps_its_digits(tmp_path):
    (record,) = read_file(write(tmp_path, [GOOD | {"n": str(10**29)}], ".csv"))
    assert record.metadata == {"n": str(10**29)}


@pytest.mark.parametrize(("suffix", "mark"), [(".json", "["), (".jsonl", "")])
def test_a_field_that_stands_twice_is_refused(tmp_path, suffix, mark):
    path = tmp_path / f"d{suffix}"
    path.write_text(f'{mark}{{"prompt": "p", "chosen": "a", "rejected": "b", "chosen": "c"}}{"]" if mark else ""}')
    with pytest.raises(PrefloopError, match="'chosen' twice"):
        list(read_file(path))
    table = tmp_path / "d.csv"
    table.write_text("prompt,chosen,rejected,chosen\np,a,b,c\n")
    with pytest.raises(PrefloopError, match="'chosen' twice"):
        list(read_file(table))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json"])
def test_a_mark_names_the_encoding(tmp_path, encoding, suffix):
    path = write(tmp_path, [GOOD | {"chosen": "café €"}], suffix)
    text = path.read_text("utf-8")
    path.write_text(text, encoding)
    (record,) = read_file(path)
    assert "café €" in [answer.text for answer in record.completions]


def test_an_encoding_that_is_none_is_refused(tmp_path):
    with pytest.raises(PrefloopError, match="no encoding 'klingon'"):
        list(read_file(write(tmp_path, [GOOD], ".csv"), format_name="table", mapping=Mapping(encoding="klingon")))


def test_a_table_with_semicolons_is_read(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text('prompt;chosen;rejected\np;"a;1";b\n')
    (record,) = read_file(path)
    assert {answer.text for answer in record.completions} == {"a;1", "b"}


@pytest.mark.parametrize("size", [1, 700, 1 << 20])
def test_a_list_is_read_over_the_edges_of_its_pieces(tmp_path, size, monkeypatch):
    monkeypatch.setattr("prefloop.formats.rows._PIECE", size)
    rows = [GOOD | {"prompt": f'é{{[",{i}', "n": i} for i in range(40)]
    path = tmp_path / "d.json"
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False))
    assert [record.metadata["n"] for record in read_file(path)] == list(range(40))


def test_records_are_read_of_a_list_too(tmp_path):
    record = {
        "id": "a",
        "prompt": "p",
        "completions": [{"text": "x"}, {"text": "y"}],
        "votes": [{"rater": "r", "choice": 0}],
    }
    assert list(read_file(write(tmp_path, [record], ".json"))) == list(read_file(write(tmp_path, [record], ".jsonl")))


@pytest.mark.parametrize(
    ("chosen", "rejected", "right"),
    [
        ("Q: yes", "Q: no", ("Q:", " yes", " no")),
        ("Q: yes", "Q: yes indeed", ("Q: ye", "s", "s indeed")),  # one goes on where the other ends
        ("Q: ", "Q: no", ("Q:", " ", " no")),
        ("ab", "ab", ("a", "b", "b")),
        ("x ", "y ", ("", "x ", "y ")),
    ],
)
def test_an_implicit_prompt_is_what_trl_makes_of_it(chosen, rejected, right):
    assert shared_prefix(chosen, rejected) == right


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"chosen": "Blue", "rejected": "Blueish", "ask": "Which colour?"}, "ask might be"),
        ({"chosen": "Yes", "rejected": "No"}, "have no common beginning"),
        (GOOD | {"prompt": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "type image_url"),
        (
            GOOD | {"prompt": [{"role": "assistant", "content": "", "function_call": {"name": "f"}}]},
            r"calls a tool \(f\)",
        ),
        (GOOD | {"system": "S", "prompt": [{"role": "system", "content": "T"}]}, "two different system turns"),
        (GOOD | {"prompt": "[{'role': 'user', oops}]"}, "looks like messages"),
    ],
)
def test_what_would_be_a_guess_or_a_loss_is_refused(tmp_path, row, why):
    with pytest.raises(PrefloopError, match=f"line 1: .*{why}"):
        list(read_file(write(tmp_path, [row], ".jsonl")))


def test_alpacas_instruction_input_and_history_make_the_prompt(tmp_path):
    row = {
        "instruction": "Shorten.",
        "input": "A long text.",
        "output": ["Short.", "Long."],
        "history": [["Hi", "Hello"]],
    }
    (record,) = read_file(write(tmp_path, [row | {"system": "S"}], ".jsonl"))
    roles = [(turn["role"], turn["content"]) for turn in record.prompt]
    assert roles == [("system", "S"), ("user", "Hi"), ("assistant", "Hello"), ("user", "Shorten.\n\nA long text.")]
    assert record.completions[record.verdicts[0].choice].text == "Short."


def flat_argilla(version):
    if version == 2:
        return {
            "id": "r", "prompt": "P", "response_1": "a", "response_2": "b",
            "better.responses": ["response_2", "response_1"], "better.responses.users": ["u1", "u2"],
            "better.responses.status": ["submitted", "draft"],
            "better.suggestion": "response_1", "better.suggestion.agent": "gpt", "better.suggestion.score": None,
        }  # fmt: skip
    return {
        "external_id": "r", "prompt": "P", "response_1": "a", "response_2": "b", "better-suggestion": "response_1",
        "better-suggestion-metadata": {"agent": "gpt"},
        "better": {
            "user_id": ["u1", "u2"], "value": ["response_2", "response_1"], "status": ["submitted", "discarded"],
        },
    }  # fmt: skip


@pytest.mark.parametrize("version", [1, 2])
def test_argillas_data_sets_hold_what_its_records_do(tmp_path, version):
    (record,) = read_file(write(tmp_path, [flat_argilla(version)], ".parquet"))
    votes = [(vote.rater, vote.choice) for vote in record.votes]
    assert votes == [("u1", 1), *([("u2", "skip")] if version == 1 else [])]
    assert [(verdict.judge, verdict.choice) for verdict in record.verdicts] == [("gpt", 0)]


@pytest.mark.parametrize("suffix", [".json", ".csv"])
def test_label_studios_flat_exports_are_one_vote_a_row(tmp_path, suffix):
    said = [("left", 4), ("right", 5)]
    rows = [
        {
            "id": 9, "prompt": "P", "answer1": "a", "answer2": "b", "annotator": who, "annotation_id": 70 + who,
            "created_at": "2026-01-02T03:04:05Z", "lead_time": 2.5, "quality": "2",
            "comparison": json.dumps([{"selected": side}]) if suffix == ".csv" else [{"selected": side}],
        }
        for side, who in said
    ]  # fmt: skip
    (record,) = read_file(write(tmp_path, rows, suffix))
    assert [(v.rater, v.choice, v.seconds) for v in record.votes] == [
        ("label-studio-4", 0, 2.5),
        ("label-studio-5", 1, 2.5),
    ]


def test_a_second_control_is_never_the_preference(tmp_path):
    result = [{"type": "choices", "from_name": "fluency", "to_name": "x", "value": {"choices": ["2"]}}]
    task = {
        "id": 1,
        "data": {"prompt": "P", "answer1": "a", "answer2": "b"},
        "annotations": [{"completed_by": 4, "result": result}],
    }
    notes = Notes()
    (record,) = read_file(write(tmp_path, [task], ".json"), notes=notes)
    assert (record.votes, dict(notes)) == (
        (),
        {"Label Studio results of choices 'fluency' that do not compare the answers": 1},
    )


@pytest.fixture
def bar(tmp_path):
    """A small directory of LLMBar's, and a function that zips it."""
    folder = tmp_path / "bar"
    (folder / "J" / "P").mkdir(parents=True)
    item = {"input": "i", "output_1": "a", "output_2": "b"}
    (folder / "dataset.json").write_text(json.dumps([item | {"label": 2}]))
    results = [item | {"results": [{"swap = False": {"winner": "2", "completion": ["b"]}}]}]
    (folder / "J" / "P" / "result.json").write_text(json.dumps(results))
    return folder


def test_a_zip_is_read_as_its_directory(tmp_path, bar):
    for root, name in ((tmp_path, "bar"), (bar, ".")):
        made = shutil.make_archive(str(tmp_path / "out" / "bar"), "zip", root, name)
        with unpacked(tmp_path / "out" / "bar.zip") as path:
            assert list(read_file(path)) == list(read_file(bar))
        (tmp_path / "out" / "bar.zip").unlink()
        assert made


def member(name, content=b"x", mode=0o100644, flags=0):
    info = zipfile.ZipInfo(name)
    info.external_attr, info.flag_bits = mode << 16, flags
    return info, content


@pytest.mark.slow
@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([member("../out.json")], "points outside"),
        ([member("/etc/out.json")], "points outside"),
        ([member("a\\..\\out.json")], "points outside"),
        ([member("/".join("a" * 40) + ".json")], "points outside its folder, or is nested too deep"),
        ([member("link", b"/etc/passwd", 0o120777)], "is a link"),
        ([member("inner.zip")], "an archive itself"),
        ([member("bomb.json", b" " * 70_000_000)], "unpacks to more than it may"),
        ([member(f"{i}.json", b"") for i in range(5_001)], "lists more than 5,000 files"),
        ([member("__MACOSX/._x")], "there is no file in it"),
    ],
)
def test_a_zip_that_does_harm_is_refused_and_writes_nothing_outside(tmp_path, members, why):
    path = tmp_path / "in" / "d.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, content in members:
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    with pytest.raises(UnreadableFile, match=why), unpacked(path):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(UnreadableFile, match="is not a zip file"), unpacked(path):
        pass
