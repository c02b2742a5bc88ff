"""Files made by spoiling good ones are refused in the reader's own words, or read; no label is made that they lack."""

from __future__ import annotations

import csv
import gzip
import json
from copy import deepcopy
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefloop.formats import read_file
from prefloop.types import PrefloopError

CASES = Path(__file__).parent / "cases"
NAMES = ("prompt", "question", "instruction", "input", "system", "history", "tools", "id", "extra", "messages", "label")
ODD = (
    None, "", " ", 0, 1, -1, 2.5, True, [], {}, [[]], [{}], "tie", "A", "left", "response_1", "response_2", "\0",
    "\ud83d",
    float("nan"), float("inf"), 10**30, -(10**20), "é" * 3, "[{", '[{"role": "user"}]', [{"role": "user"}],
    {"role": ["user"], "content": []}, {"role": ["user", "assistant"], "content": ["Q"]}, "2024-01-01", ["a", 1],
    [{"type": "image"}], [{"role": "assistant", "content": [{"type": "image"}]}], "x" * 3000,
)  # fmt: skip
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".jsonl.gz", ".json.gz", ".csv.gz")


def rows_of(path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    if path.suffix == ".csv":
        return list(csv.DictReader(text.splitlines(keepends=True)))
    return json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]


FILES = {path.name: rows_of(path) for path in sorted(CASES.iterdir())}


def places_in(value, at=()):
    """Every place in rows where something stands."""
    here = [at] if at else []
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return here + [place for key, child in inside for place in places_in(child, (*at, key))]


@st.composite
def spoiled(draw):
    rows = json.loads(json.dumps(FILES[draw(st.sampled_from(sorted(FILES)))], default=str))
    for _ in range(draw(st.integers(0, 4))):
        places = places_in(rows)
        if not places:
            break
        *path, key = draw(st.sampled_from(places))
        parent = rows
        for step in path:
            parent = parent[step]
        kind = draw(st.sampled_from(("odd", "drop", "double", "rename", "swap", "text")))
        if kind == "odd":
            parent[key] = deepcopy(draw(st.sampled_from(ODD)))
        elif kind == "drop":
            del parent[key]
        elif kind == "double" and isinstance(parent, list):
            parent.append(json.loads(json.dumps(parent[key])))
        elif kind == "text":
            parent[key] = json.dumps(parent[key])
        elif isinstance(parent, dict):
            other = draw(st.sampled_from(NAMES if kind == "rename" else sorted(parent)))
            if kind == "rename":
                parent[other] = parent.pop(key)
            else:
                parent[key], parent[other] = parent[other], parent[key]
    return rows, draw(st.sampled_from(SUFFIXES)), draw(st.booleans())


def write(folder, rows, suffix, ascii_only):
    path = folder / f"data{suffix}"
    rows = [row for row in rows if isinstance(row, dict)] if "json" not in suffix else rows
    if suffix == ".parquet":
        try:
            pq.write_table(pa.Table.from_pylist(rows), path)
            return path
        except (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError):
            path = folder / "data.json"
    if "csv" in suffix or "tsv" in suffix:
        names = list(dict.fromkeys(name for row in rows for name in row))
        with (folder / "table").open("w", newline="", encoding="utf-8", errors="surrogatepass") as stream:
            writer = csv.writer(stream, delimiter="\t" if suffix == ".tsv" else ",")
            writer.writerow(names)
            for row in rows:
                cells = (row.get(name) for name in names)
                writer.writerow(["" if c is None else c if isinstance(c, str) else json.dumps(c) for c in cells])
        content = (folder / "table").read_bytes()
    elif ".jsonl" in suffix:
        content = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows).encode(
            "utf-8", "surrogatepass"
        )
    else:
        content = json.dumps(rows, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    return path


def flat(value):
    """All text of a value: as it stands in a cell, and that within it."""
    if isinstance(value, str):
        inner = parsed(value)
        return value + flat(inner) if isinstance(inner, list | dict) else value
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    parts = "".join(str(one.get("text", "")) if isinstance(one, dict) else str(one) for one in inside)
    return "\n".join(["" if value is None else json.dumps(value), parts, *map(flat, inside)])


def parsed(value):
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def orders_in(row):
    """What a row says of which text is better than which: pairs of texts, written without any of the readers."""
    if "chosen" in row and "rejected" in row:  # an empty cell of a CSV is an empty answer
        yield flat(row["chosen"]), flat(row["rejected"]), False
    word = str(row.get("winner")).strip().lower()
    for better, worse in (("a", "b"), ("b", "a")):
        named = (better, f"response_{better}", {"a": "left", "b": "right"}[better])
        if word in named or word == "tie":
            yield flat(row.get(f"response_{better}")), flat(row.get(f"response_{worse}")), word == "tie"
    yield from orders_in_tools(parsed(row.get("fields")), parsed(row.get("responses")), parsed(row.get("suggestions")))
    data = parsed(row.get("data"))
    for one in flat_list(parsed(row.get("annotations"))):
        for result in flat_list(one.get("result")):
            said = result.get("value") if isinstance(result.get("value"), dict) else {}
            side = said.get("selected")
            if side in ("left", "right") and isinstance(data, dict):
                names = sorted(name for name in data if name.startswith("answer"))
                texts = [flat(data[name]) for name in names]
                yield *(texts if side == "left" else texts[::-1])[:2], False
            ranker = said.get("ranker")
            for bucket in ranker.values() if isinstance(ranker, dict) else [ranker]:
                if isinstance(bucket, list) and isinstance(data, dict):
                    items = {str(one.get("id")): flat(one) for one in flat_list(parsed(data.get("items")))}
                    texts = [flat(data.get(bare(name))) + items.get(bare(name), "") for name in bucket]
                    for i, better in enumerate(texts):
                        for worse in texts[i + 1 :]:
                            yield better, worse, False
            choices = said.get("choices")
            if choices == ["tie"]:
                yield "", "", True


def orders_in_tools(fields, responses, suggestions):
    if not isinstance(fields, dict):
        return
    for answers in (*flat_values(responses), *flat_values(suggestions)):
        if answers.get("status", "submitted") != "submitted":
            continue
        value = parsed(answers.get("value"))
        value = bare(value) if isinstance(value, str) else value
        names = [name for name in fields if name.startswith("response")]
        if isinstance(value, str):
            for name in names:
                if value in (name, name[-1], {"1": "left", "2": "right"}.get(name[-1]), {"1": "A"}.get(name[-1])):
                    for other in names:
                        yield flat(fields[name]), flat(fields[other]), False
            if value == "tie":
                yield "", "", True
        ranks = {bare(r.get("value")): parsed(r.get("rank")) for r in flat_list(value)}
        for one, high in ranks.items():
            for other, low in ranks.items():
                pair = [next((flat(fields[n]) for n in names if n == v or n[-1] == v[-1:]), "") for v in (one, other)]
                numbers = isinstance(high, int | float) and isinstance(low, int | float) and one != other
                if numbers and high <= low:
                    yield *pair, high == low


def bare(name):
    return str(name).strip('"\\')


def flat_list(value):
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def flat_values(value):
    groups = value.values() if isinstance(value, dict) else ()
    return [one for group in groups for one in flat_list(group if isinstance(group, list) else [group])]


def labels_of(record):
    texts = [answer.text for answer in record.completions]
    for said in (*record.votes, *record.verdicts, *record.gold):
        if said.choice in (0, 1):
            i, j = said.pair
            yield (texts[i], texts[j], False) if said.choice == 0 else (texts[j], texts[i], False)
        elif said.choice in ("tie", "both_bad"):
            yield texts[said.pair[0]], texts[said.pair[1]], True
    for ranking in record.rankings:
        for at, group in enumerate(ranking.groups):
            for i in group:
                for j in (k for later in ranking.groups[at + 1 :] for k in later):
                    yield texts[i], texts[j], False


@pytest.mark.slow
@settings(max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(spoiled())
def test_a_spoiled_file_is_refused_clearly_or_holds_what_is_read(tmp_path_factory, made):
    rows, suffix, ascii_only = made
    path = write(tmp_path_factory.mktemp("spoiled"), rows, suffix, ascii_only)
    records, told = [], "read"
    try:
        records.extend(read_file(path))
    except PrefloopError as error:
        told = str(error)
    assert told
    assert "\n" not in told
    names = (
        [name for row in rows if isinstance(row, dict) for name in row] if ".csv" in suffix or ".tsv" in suffix else []
    )
    whole = [dict.fromkeys(names) | row for row in rows if isinstance(row, dict)]  # a table's rows have all columns
    held = [order for row in whole for order in orders_in(row)]
    for record in records:
        for better, worse, tie in labels_of(record):
            assert any(
                (tie and tied) or (not tie and not tied and better in first and worse in second)
                for first, second, tied in held
            ), f"{better!r} over {worse!r}, {tie=}: {json.dumps(rows)}"
