"""Writing records: one canonical line each."""

from __future__ import annotations

import hashlib
from typing import Any, cast

import orjson

from prefloop.marks import Mark
from prefloop.records.form import Gold, GoldRating, Metadata, Record
from prefloop.rubrics import rubric_as_objects


def record_to_dict(record: Record) -> dict[str, Any]:
    """Turn a record into JSON's types; keys in the order of the interface, defaults left out."""
    out: dict[str, Any] = {"id": record.id}
    if record.split is not None:
        out["split"] = record.split
    if isinstance(record.prompt, str):
        out["prompt"] = record.prompt
    else:
        out["prompt"] = [{"role": m["role"], "content": m["content"]} for m in record.prompt]
    if record.metadata:
        out["metadata"] = sorted_metadata(record.metadata)
    out["completions"] = [
        _drop(text=c.text, model=c.model or None, metadata=sorted_metadata(c.metadata) or None)
        | _drop(parent=c.parent, editor=c.editor or None)
        for c in record.completions
    ]
    # one by one: most keys of most records are absent
    if record.gold:
        out["gold"] = [{"pair": g.pair, "choice": g.choice} | _why_known(g) for g in record.gold]
    if record.gold_ratings:
        out["gold_ratings"] = [
            {"completion": g.completion, "rubric": rubric_as_objects(g.rubric), "values": dict(g.values)}
            | _why_known(g)
            for g in record.gold_ratings
        ]
    if record.votes:
        out["votes"] = [
            _drop(
                rater=v.rater,
                pair=v.pair,
                criterion=v.criterion or None,
                choice=v.choice,
                strength=v.strength,
                order=v.order,
                at=v.at or None,
                seconds=v.seconds,
                guideline=v.guideline or None,
                reason=v.reason or None,
                reasons=v.reasons or None,
                marks=[_mark(one, record) for one in v.marks] or None,
                adjudication=v.adjudication or None,
                edit=v.edit or None,
                by_chance=v.by_chance,
            )
            for v in record.votes
        ]
    if record.rankings:
        out["rankings"] = [
            _drop(rater=r.rater or None, judge=r.judge or None, groups=r.groups, shown=r.shown or None)
            | _drop(at=r.at or None, seconds=r.seconds, guideline=r.guideline or None, reason=r.reason or None)
            | _drop(reasons=r.reasons or None)
            for r in record.rankings
        ]
    if record.ratings:
        out["ratings"] = [
            _drop(rater=r.rater, completion=r.completion, choice=None if r.choice == "rated" else r.choice)
            | _drop(rubric=rubric_as_objects(r.rubric) or None, values=dict(r.values) or None, at=r.at or None)
            | _drop(seconds=r.seconds, guideline=r.guideline or None, reason=r.reason or None)
            for r in record.ratings
        ]
    if record.verdicts:
        out["verdicts"] = [
            {"judge": v.judge, "pair": v.pair, "order": v.order, "sample": v.sample, "state": v.state}
            | {"choice": v.choice}
            | _drop(p_first=v.p_first, raw=v.raw or None, criterion=v.criterion or None)
            for v in record.verdicts
        ]
    if record.overrides:
        out["overrides"] = [
            _drop(rater=o.rater, pair=o.pair, judge=o.judge or None, choice=o.choice)
            | _drop(reason=o.reason or None, at=o.at or None, criterion=o.criterion or None)
            for o in record.overrides
        ]
    if record.scores:
        out["scores"] = [
            {"judge": s.judge, "completion": s.completion, "value": s.value, "state": s.state}
            | _drop(flag=s.flag or None, criterion=s.criterion or None)
            for s in record.scores
        ]
    if record.flags:
        out["flags"] = [
            _drop(rater=f.rater, pair=f.pair, completion=f.completion, reason=f.reason)
            | _drop(note=f.note or None, at=f.at or None)
            | _drop(resolved=f.resolved or None, resolved_by=f.resolved_by or None)
            for f in record.flags
        ]
    return out


def _mark(mark: Mark, record: Record) -> dict[str, Any]:
    """A mark with what it marks, by which a reader can tell how its offsets count."""
    text = record.completions[mark.answer].text[mark.start : mark.end]
    return _drop(
        completion=mark.answer,
        start=mark.start,
        end=mark.end,
        kind=mark.kind,
        reason=mark.reason or None,
        text=text,
    )


def write_record(record: Record) -> bytes:
    """Write one line, newline included. The same record always gives the same bytes, and reading gives it back."""
    return orjson.dumps(record_to_dict(record), option=orjson.OPT_APPEND_NEWLINE)


def content_hash(record: Record) -> str:
    """Hash the canonical form (SHA-256, hex); two spellings of one record agree."""
    return hash_of(write_record(record))


def hash_of(line: bytes) -> str:
    """Hash a line that `write_record` wrote (SHA-256, hex)."""
    return hashlib.sha256(line).hexdigest()


def _why_known(gold: Gold | GoldRating) -> dict[str, Any]:
    return _drop(note=gold.note or None, practice=gold.practice or None)


def _drop(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def sorted_metadata(value: Metadata) -> Metadata:
    return cast(Metadata, orjson.loads(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))) if value else value
