"""Which prompts a filter means, and how a bad one is refused."""

from __future__ import annotations

import pytest

from prefloop.config import ConfigError
from prefloop.recipes.where import read_where

MATHS = {"topic": "maths", "difficulty": 4, "tags": ["algebra", "short"], "source": {"page": 7}, "checked": True}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("topic=maths", True),
        ("topic = maths and difficulty >= 3", True),
        ("topic=maths AND difficulty>4", False),
        ("difficulty<=4", True),
        ("difficulty<4", False),
        ("difficulty=4.0", True),
        ("topic=physics,maths", True),
        ("topic!=physics , maths", False),
        ("topic!=physics", True),
        ("tags=algebra", True),
        ("tags!=algebra", False),
        ("source.page>=7", True),
        ("checked=true", True),
        ("checked=1", False),
        ("checked>0", False),
        ("language=fr", False),
        ("language!=fr", True),
        ("language>1", False),
        ("topic>1", False),
        ("band=and", False),
    ],
)
def test_a_prompt_meets_what_is_said_of_it(text, holds):
    assert read_where(text).holds(MATHS) is holds


def test_quotes_hold_what_would_be_read_otherwise():
    where = read_where('title="Trees, and \\"graphs\\"" and note="a=b and c"')
    assert where.holds({"title": 'Trees, and "graphs"', "note": "a=b and c"})
    assert not where.holds({"title": "Trees", "note": "a=b and c"})


def test_a_number_in_a_text_is_a_number_and_a_dotted_key_may_be_one():
    assert read_where("difficulty>=3").holds({"difficulty": "3.5"})
    assert not read_where("difficulty>=3").holds({"difficulty": "nan"})
    assert read_where("a.b=1").holds({"a.b": 1})
    assert read_where("n=1").holds({"n": 10**400}) is False


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("topic", "one of = != < <= > >= is missing at the end"),
        ("topic=", "a value is missing at the end"),
        ("topic=maths difficulty>3", "`and` is missing at 'difficulty>3'"),
        ("topic=maths and", "a metadata key is missing at the end"),
        ("=maths", "a metadata key is missing at '=maths'"),
        ("difficulty>=hard", "one number after >= is missing at 'hard'"),
        ("difficulty>1,2", "one number after > is missing at '1,2'"),
        ("topic=maths,", "a value is missing at the end"),
        ('topic="maths', "a value is missing at '\"maths'"),
        ("topic==maths", "a value is missing at '=maths'"),
        ("__import__('os')", "one of = != < <= > >= is missing at \"('os')\""),
    ],
)
def test_a_bad_filter_is_refused_with_the_place(text, missing):
    with pytest.raises(ConfigError) as refused:
        read_where(text)
    assert str(refused.value).startswith("prompts.where must be like topic=maths and difficulty>=3: ")
    assert missing in str(refused.value)
