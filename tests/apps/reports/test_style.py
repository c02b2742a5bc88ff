"""Style control on every way to the leaderboard: page, files, API and command."""

from __future__ import annotations

import io
import json
import random

import pytest
from django.core.management import call_command

from apps.reports import services


@pytest.fixture
def board(project, make_comparison, make_vote):
    """Two models whose answers have bold text, lists and lengths by chance, and a person who decides by chance."""
    rng = random.Random(3)
    for at in range(24):
        texts = tuple(
            rng.choice(["**Well**", "Well"]) + rng.choice([", so ", "\n- so "]) + "it is " * rng.randint(1, 9) + side
            for side in (f"{at}a", f"{at}b")
        )
        pair = make_comparison(project, texts, models=("m1", "m2"))
        make_vote(pair, rng.choice(["first", "second"]), rater="ann")
    return project


def test_the_style_of_the_answers_is_held_equal_where_it_is_asked_for(board, bob, client_for, api_for):
    plain, styled = (services.leaderboard_report(project=board, style=style) for style in (False, True))
    assert plain["style"] is None
    effects = {one["name"]: one for one in styled["style"]["effects"]}
    assert effects["headers"]["reason"] == "no answer has any"
    by = {model["name"]: model for model in styled["models"]}
    assert by["m1"]["bt"] == pytest.approx({m["name"]: m["bt"] for m in plain["models"]}["m1"])
    at = f"/api/v1/projects/{board.slug}/reports/leaderboard/"
    api = api_for(bob)
    assert (api.get(at).json(), api.get(at, {"style": "true"}).json()) == (plain, styled)
    assert api.get(at, {"style": "loud"}).status_code == 400
    out = io.StringIO()
    call_command("report_leaderboard", project=board.slug, style=True, json=True, stdout=out)
    assert json.loads(out.getvalue()) == styled
    client, page = client_for(bob), f"/p/{board.slug}/reports/leaderboard/"
    assert "Does style help?" not in client.get(page).content.decode()
    shown = client.get(page, {"style": "1"}).content.decode()
    assert "Does style help?" in shown
    assert "leaderboard.json?source=all&amp;judge=&amp;width=3&amp;style=1" in shown
    whole = client.get(f"/p/{board.slug}/reports/leaderboard.json", {"style": "1"}).json()
    assert whole["style"] == styled["style"]
    table = client.get(f"/p/{board.slug}/reports/leaderboard.csv", {"style": "1"}).content.decode()
    assert "style / effects / lists / bt," in table
    out = io.StringIO()
    call_command("report_leaderboard", project=board.slug, style=True, stdout=out)
    assert "Effect of lists: " in out.getvalue()
    assert "at equal style" in out.getvalue()
