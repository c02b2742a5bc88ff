from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from django.template import Context, Template, TemplateSyntaxError
from django.utils.translation import gettext_lazy

from apps.core.templatetags import ui
from apps.core.terms import TERMS

NB = "\u202f"


def _draw(text, **context):
    return Template(text).render(Context(context))


def _plain(html):
    import re

    return re.sub(r"<[^>]+>", "", html)


def test_an_interval_reads_as_people_write_it():
    html = _draw("{% interval value low high n %}", value=0.7123, low=0.681, high=0.74, n=974)
    assert _plain(html) == f"71.2{NB}% [68.1, 74.0], n{NB}={NB}974"


def test_an_interval_of_another_unit_is_not_multiplied():
    assert _plain(_draw("{% interval 0.256 0.2 -0.31 unit='nats' %}")) == f"0.26{NB}nats [0.20, −0.31]"


def test_a_small_number_keeps_its_digits_and_a_count_has_none():
    assert _plain(_draw("{% interval 0.00327 0.0031 0.0034 unit='' %}")) == "0.0033 [0.0031, 0.0034]"
    assert _plain(_draw("{% interval 16 unit='' %}")) == "16"
    assert _plain(_draw("{% interval 0.0 0.0 0.0 unit='' %}")) == "0.00 [0.00, 0.00]"


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), ""])
def test_what_is_undefined_is_a_dash(value):
    assert _plain(_draw("{% interval value %}{{ value|percent }}{{ value|number }}", value=value)) == "–––"


@pytest.mark.parametrize(
    ("value", "digits", "shown"), [(0.5, 1, f"50.0{NB}%"), (0.12345, 2, f"12.35{NB}%"), (-0.1, 0, f"−10{NB}%")]
)
def test_a_fraction_is_shown_in_per_cent(value, digits, shown):
    assert ui.percent(value, digits) == shown


def test_a_large_number_has_separators_and_a_real_minus():
    assert ui.number(-1234567.891, 1) == "−1,234,567.9"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5, "just now"), (60, "1 min ago"), (3 * 3600, "3 hours ago"), (86400, "1 day ago"), (-7200, "in 2 hours")],
)
def test_a_moment_is_said_relative_to_now(seconds, words):
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert ui.relative(now - timedelta(seconds=seconds), now) == words


def test_ago_carries_the_absolute_time():
    html = _draw("{% ago moment %}", moment=datetime(2026, 1, 31, 12, tzinfo=UTC))
    assert 'datetime="2026-01-31T12:00:00+00:00"' in html
    assert 'title="2026-01-31 12:00:00 UTC"' in html


@pytest.mark.parametrize(("seconds", "words"), [(59, "59 s"), (61, "1 min 1 s"), (3725, "1 h 2 min"), (None, "–")])
def test_a_duration_has_its_two_largest_units(seconds, words):
    assert ui.duration(seconds).replace(NB, " ") == words


def test_a_term_explains_itself_and_an_unknown_one_stops_the_page():
    assert TERMS["kl"] in _draw('{% term "KL" %}')
    with pytest.raises(TemplateSyntaxError):
        _draw('{% term "no such term" %}')


def test_everything_put_into_a_tag_is_escaped():
    evil = '"><script>alert(1)</script>'
    html = _draw(
        "{% chip 'human' evil evil %}{% status evil %}{% icon 'check' evil %}"
        "{% interval 0.5 unit=evil %}{{ evil|model_text }}"
        "{% term 'KL' evil %}",
        evil=evil,
    )
    assert "<script" not in html


def test_a_query_keeps_what_it_does_not_change():
    from django.http import QueryDict

    request = SimpleNamespace(GET=QueryDict("a=1&b=2&page=3"))
    drawn = Template("{% query_with page='' b='x y' %}").render(Context({"request": request}))
    assert drawn == "?a=1&amp;b=x+y"


def test_a_text_that_is_translated_late_is_shown_as_any_other():
    late = gettext_lazy("Data")
    drawn = _draw('{{ said|default:_("waiting for a worker")|visible_controls }}{{ late|visible_controls }}', late=late)
    assert drawn == f"waiting for a worker{late}"
