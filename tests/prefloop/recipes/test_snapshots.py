from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefloop.recipes.snapshots import (
    Demonstration,
    RankedGroup,
    SnapshotError,
    encode_row,
    read_pairs,
    read_rows,
    write_snapshot,
)
from prefloop.types import TrainingPair

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PAIRS = st.builds(
    TrainingPair,
    id=TEXTS,
    prompt=TEXTS,
    first=TEXTS,
    second=TEXTS,
    p_first=st.floats(0, 1),
    weight=st.floats(0.001, 100),
    first_ids=st.lists(st.integers(0, 10**6), max_size=5).map(tuple),
    second_ids=st.lists(st.integers(0, 10**6), max_size=5).map(tuple),
    source=TEXTS,
    label_ids=st.lists(TEXTS, max_size=3).map(tuple),
)


def pair(**values: object) -> TrainingPair:
    base: dict[str, object] = {"id": "1", "prompt": "Why?", "first": "é\n", "second": "", "p_first": 0.25}
    return TrainingPair(**{**base, **values})  # type: ignore[arg-type]


def test_a_row_is_these_bytes() -> None:
    assert (
        encode_row(pair(first_ids=(3, 1), label_ids=("v7",)))
        == (
            '{"id":"1","prompt":"Why?","first":"é\\n","second":"","p_first":0.25,"weight":1.0,'
            '"first_ids":[3,1],"second_ids":[],"source":"","label_ids":["v7"]}\n'
        ).encode()
    )


@pytest.mark.slow
@given(rows=st.lists(PAIRS, min_size=1, max_size=5, unique_by=lambda row: row.id))
def test_what_is_written_reads_back_equal_and_writes_the_same_bytes(
    rows: list[TrainingPair], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("snapshot")
    info = write_snapshot(folder / "a.jsonl", rows)
    again = read_pairs(folder / "a.jsonl", sha256=info.sha256)
    assert again == rows
    assert write_snapshot(folder / "b.jsonl", again) == info
    assert (folder / "a.jsonl").read_bytes() == (folder / "b.jsonl").read_bytes()


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    info = write_snapshot(tmp_path / "s.jsonl", [pair(), pair(id="2")])
    content = (tmp_path / "s.jsonl").read_bytes()
    assert (info.sha256, info.n_bytes, info.n_rows) == (hashlib.sha256(content).hexdigest(), len(content), 2)


def test_demonstrations_are_rows_of_their_own_kind(tmp_path: Path) -> None:
    rows = [
        Demonstration(id="1", prompt="p", completion="c"),
        Demonstration(id="2", prompt="p", completion="", weight=2),
    ]
    write_snapshot(tmp_path / "s.jsonl", rows)
    assert read_rows(tmp_path / "s.jsonl", "demonstrations") == rows
    with pytest.raises(SnapshotError, match=r"s\.jsonl, line 1: a TrainingPair has the keys"):
        read_pairs(tmp_path / "s.jsonl")


def test_an_answer_that_is_not_desirable_says_so_and_the_others_keep_their_bytes(tmp_path: Path) -> None:
    good = Demonstration(id="1", prompt="p", completion="c")
    bad = dataclasses.replace(good, id="2", desirable=False)
    assert encode_row(bad) == encode_row(dataclasses.replace(good, id="2"))[:-2] + b',"desirable":false}\n'
    write_snapshot(tmp_path / "s.jsonl", [good, bad])
    assert read_rows(tmp_path / "s.jsonl", "answers") == [good, bad]
    with pytest.raises(SnapshotError, match="desirable can't be 1"):
        write_snapshot(tmp_path / "t.jsonl", [dataclasses.replace(good, desirable=1)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"p_first": 1.5}, "p_first must be in"),
        ({"p_first": float("nan")}, "p_first can't be nan"),
        ({"weight": 0.0}, "weight must be > 0"),
        ({"first_ids": (-1,)}, "first_ids can't be"),
        ({"first": None}, "first can't be None"),
        ({"first": "\ud800"}, "not valid Unicode"),
    ],
)
def test_a_row_that_must_not_be_trained_on_is_not_written(
    values: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SnapshotError, match=message):
        write_snapshot(tmp_path / "s.jsonl", [pair(**values)])
    assert list(tmp_path.iterdir()) == []


def test_an_id_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="row '1' occurs twice"):
        write_snapshot(tmp_path / "s.jsonl", [pair(), pair(first="other")])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([b"not json"], "line 1: not JSON"),
        ([encode_row(pair()).strip(), b"[]"], "line 2: a TrainingPair has the keys"),
        ([json.dumps({"id": "1"}).encode()], "line 1: .*missing"),
        ([encode_row(pair()).strip()] * 2, "line 2: row '1' occurs twice"),
        ([], "has no rows"),
    ],
)
def test_a_snapshot_that_is_not_one_is_refused_with_its_line(lines: list[bytes], message: str, tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_bytes(b"\n".join(lines))
    with pytest.raises(SnapshotError, match=message):
        read_pairs(tmp_path / "s.jsonl")


def test_other_bytes_than_the_run_was_made_with_are_refused(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "s.jsonl", [pair()])
    with pytest.raises(SnapshotError, match="its SHA-256 differs"):
        read_pairs(tmp_path / "s.jsonl", sha256="0" * 64)
    with pytest.raises(SnapshotError, match="is missing"):
        read_pairs(tmp_path / "none.jsonl")


GROUP = RankedGroup(
    "g", "Say.", ("a", "", "c"), (0.5, -1.0, 2.0), completion_ids=((1, 2), (), (3,)), label_ids=("s:1",)
)


def test_ranked_groups_read_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [GROUP, RankedGroup("h", "Say.", ("x", "y"), (1.0, 1.0), weight=2.0)]
    info = write_snapshot(tmp_path / "s.jsonl", rows)
    assert read_rows(tmp_path / "s.jsonl", "groups", sha256=info.sha256) == rows


@pytest.mark.parametrize(
    "changes",
    [
        {"completions": ("a",), "scores": (1.0,), "completion_ids": ()},
        {"scores": (1.0, 2.0)},
        {"scores": (1.0, 2.0, float("nan"))},
        {"completion_ids": ((1,),)},
        {"completion_ids": (1, 2, 3)},
        {"completions": ("a", "b", 3)},
    ],
)
def test_a_group_that_can_not_be_ranked_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(SnapshotError):
        write_snapshot(tmp_path / "s.jsonl", [dataclasses.replace(GROUP, **changes)])  # type: ignore[arg-type]


def test_a_pair_keeps_its_bytes_unless_it_has_a_target(tmp_path: Path) -> None:
    plain = TrainingPair("a", "Say.", "x", "y", 1.0)
    assert b"target" not in encode_row(plain)
    for target in ("", "z"):
        rows = [dataclasses.replace(plain, target=target, target_ids=(4,))]
        write_snapshot(tmp_path / "s.jsonl", rows)
        assert read_pairs(tmp_path / "s.jsonl") == rows


def test_a_conversation_is_a_prompt_too_and_reads_back_equal(tmp_path: Path) -> None:
    talk = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"})
    rows = [pair(prompt=talk), pair(id="2")]
    write_snapshot(tmp_path / "a.jsonl", rows)
    assert read_pairs(tmp_path / "a.jsonl") == rows
    for bad in ((), ({"role": "user"},), ("Why?",), ({"role": "user", "content": 3},)):
        with pytest.raises(SnapshotError, match="prompt can't be"):
            encode_row(pair(prompt=bad))


def test_only_what_was_cut_says_so_and_it_comes_back(tmp_path: Path) -> None:
    whole = Demonstration("1", "Hi", "Dear Maria")
    cut = dataclasses.replace(whole, cut=True)
    group = RankedGroup("1", "Hi", ("a", "b"), (0.0, 1.0), cut=(True, False))
    assert b"cut" not in encode_row(whole)
    for row, rows in ((cut, "answers"), (group, "groups")):
        write_snapshot(tmp_path / "t.jsonl", [row])
        assert read_rows(tmp_path / "t.jsonl", rows) == [row]  # type: ignore[arg-type]  # names of rows
    for wrong in ((True,), (1, 0)):
        with pytest.raises(SnapshotError, match=r"a group needs|cut can't be"):
            encode_row(dataclasses.replace(group, cut=wrong))
