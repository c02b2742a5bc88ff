from __future__ import annotations

import pytest

from apps.core.csv import csv_safe


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@x", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x", "\t=1", "\r=1", "\n=1", " =1", "\ufeff=1"],
)
def test_whatever_a_spreadsheet_takes_for_a_formula_gets_an_apostrophe(text):
    assert csv_safe(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=1", "plain", "\u00e9t\u00e9", "1-2"])
def test_other_text_stays(text):
    assert csv_safe(text) == text


def test_reports_and_exports_use_the_one_guard():
    from apps.exchange import files
    from apps.reports import downloads

    assert files.csv_safe is downloads.csv_safe is csv_safe
