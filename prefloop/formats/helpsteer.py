"""HelpSteer: ratings of single answers (2), preferences of pairs (2-preference, 3).

Ratings 0 to 4 are scores of judges named `helpsteer/ASPECT` (people's, already averaged by its makers). A preference
strength from -3 to 3 is a vote: below 0 the first answer, above it the second, 0 a tie; the strength is kept as the
vote's reason. HelpSteer3's single annotators are raters of their own, its overall number is metadata then.
Source: the columns of nvidia/HelpSteer2 (Wang et al. 2024, arXiv:2406.08673, 2410.01257) and nvidia/HelpSteer3.
"""

from __future__ import annotations

from collections.abc import Iterator

from prefloop.formats.items import groups_to_records, rows_to_records
from prefloop.formats.messages import prompt_of
from prefloop.formats.rows import Row, number_in, rest, text_in
from prefloop.formats.source import Source
from prefloop.records import InvalidRecord, Record

ASPECTS = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
RATER = "helpsteer"


def matches_ratings(row: Row) -> bool:
    return "response" in row and "prompt" in row and all(aspect in row for aspect in ASPECTS)


def matches_preferences(row: Row) -> bool:
    return ("preference_strength" in row and "response_1" in row) or (
        "overall_preference" in row and "response1" in row
    )


def read_ratings(source: Source) -> Iterator[Record]:
    """Two answers to one prompt are in two rows; they become one record."""
    return groups_to_records(source, lambda row: row.get("prompt"), _ratings, prefix="helpsteer")


def read_preferences(source: Source) -> Iterator[Record]:
    return rows_to_records(source, _preference, prefix="helpsteer")


def _ratings(rows: list[Row]) -> Row:
    scores = [
        {"judge": f"{RATER}/{aspect}", "completion": i, "value": number_in(row, aspect, 0, 4)}
        for i, row in enumerate(rows)
        for aspect in ASPECTS
    ]
    completions = [
        {"text": text_in(row, "response"), "metadata": rest(row, "prompt", "response", *ASPECTS)} for row in rows
    ]
    return {"prompt": text_in(rows[0], "prompt"), "completions": completions, "scores": scores}


def _preference(row: Row) -> Row:
    third = "overall_preference" in row
    names = ("response1", "response2") if third else ("response_1", "response_2")
    overall = "overall_preference" if third else "preference_strength"
    answers = [{"text": text_in(row, name)} for name in names]
    people = row.get("individual_preference") if third else None
    if people:
        if not isinstance(people, list) or not all(isinstance(one, dict) for one in people):
            raise InvalidRecord("individual_preference is not a list of objects")
        votes = [
            _vote(f"{RATER}-{k}", number_in(one, "score", -3, 3), one.get("reasoning"))
            for k, one in enumerate(people, 1)
        ]
        kept = rest(row, "prompt", "context", *names, "individual_preference")
    else:
        votes = [_vote(RATER, number_in(row, overall, -3, 3), row.get("preference_statement"))]
        kept = rest(row, "prompt", "context", *names, overall)
    return {
        "prompt": prompt_of(row.get("context") if third else row.get("prompt"), "context" if third else "prompt"),
        "completions": answers,
        "votes": votes,
        "metadata": kept,
    }


def _vote(rater: str, strength: float, reason: object) -> Row:
    text = f"strength {strength:+g}" + (f": {reason}" if isinstance(reason, str) and reason else "")
    choice: int | str = "tie" if strength == 0 else int(strength > 0)
    return {"rater": rater, "pair": [0, 1], "choice": choice, "reason": text}
