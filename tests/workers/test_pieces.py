"""What a job computes is written in pieces, and an interrupted job ends with the numbers of an undisturbed one."""

from __future__ import annotations

import pytest

from apps.jobs.errors import JobCancelled
from apps.jobs.models import Job, JobGroup
from apps.jobs.pace import Pace, length_words, pace_words
from workers import pieces

pytestmark = pytest.mark.django_db


class Context:
    """Takes progress in, and is cancelled at the n-th look."""

    def __init__(self, cancelled_at=None):
        self.looks, self.cancelled_at, self.shown = 0, cancelled_at, []

    def check(self):
        self.looks += 1
        if self.looks == self.cancelled_at:
            raise JobCancelled

    def progress(self, step, n_steps, words):
        self.shown.append((step, n_steps, words))


@pytest.fixture(autouse=True)
def _store(settings, tmp_path):
    settings.STORE_DIR = tmp_path


def test_a_large_model_is_asked_for_less_at_once():
    assert pieces.at_once(500_000, tokens=32, most=512) == 512
    assert pieces.at_once(134_515_008, tokens=96, most=512) == 46
    assert pieces.at_once(7_000_000_000, tokens=512, most=512) == 1
    assert pieces.at_once(None, tokens=32, most=512) == 512


def test_items_are_cut_by_their_tokens_and_a_long_one_stands_alone():
    assert list(pieces.pieces_by_tokens([3, 3, 3, 9, 1, 1], int, 7)) == [[3, 3], [3], [9], [1, 1]]
    assert list(pieces.pieces_by_tokens([], int, 7)) == []


def test_what_was_computed_is_not_computed_again(tmp_path):
    asked = []

    def compute(piece):
        asked.append(piece)
        return [piece / 3, None]

    with pytest.raises(JobCancelled):
        pieces.in_pieces(Context(cancelled_at=3), "work-1", [1, 2, 3, 4], compute, words="thirds")
    assert asked == [1, 2]
    file = tmp_path / "pieces" / "work-1.jsonl"
    with file.open("ab") as stream:
        stream.write(b"[2, [0.9")  # a writer that was killed
    ctx = Context()
    found = pieces.in_pieces(ctx, "work-1", [1, 2, 3, 4], compute, words="thirds")
    assert asked == [1, 2, 3, 4]
    assert found == [1 / 3, None, 2 / 3, None, 1.0, None, 4 / 3, None]
    assert ctx.shown == [(number, 4, "thirds") for number in range(5)]
    assert pieces.in_pieces(Context(), "work-1", [1, 2, 3, 4], compute, words="thirds") == found
    assert len(asked) == 4
    pieces.forget("work-1")
    assert not file.exists()


def test_the_pace_is_that_of_the_phase_under_way_and_told_in_seconds_where_steps_are_slow():
    at = [0.0]
    pace = Pace(now=lambda: at[0])
    assert pace.report(0, 8) is None
    at[0] = 1.0
    assert pace.report(1, 8) is None  # too early to say
    at[0] = 84.0
    assert pace.report(2, 8) == 42.0
    at[0] = 100.0
    assert pace.report(2, 8) == 42.0  # what a step took, not how long ago it ended
    assert pace.report(0, 3) is None  # another phase
    at[0] = 110.0
    assert pace.report(2, 3) == 5.0
    assert pace_words(42.0, 6) == "42 s each, about 4 min left"
    assert pace_words(0.125, 240) == "8.0/s, about 30 s left"
    assert pace_words(2.5, 1) == "2.5 s each, about 2 s left"
    assert pace_words(None, 6) == pace_words(42.0, 0) == ""
    assert length_words(7_500) == "2 h 5 min"


@pytest.mark.parametrize(("each", "pace"), [(42.0, "42 s each"), (0.125, "8.0/s")])
def test_a_stage_goes_at_the_pace_of_its_phase_and_says_what_it_does(each, pace, project, erin):
    from datetime import timedelta

    from django.utils import timezone

    from apps.training.models import Loop, Round
    from apps.training.rounds.stations import stations_of
    from prefloop.recipes.catalogue import get_recipe

    recipe, now = get_recipe("dpo"), timezone.now()
    loop = Loop.objects.create(
        project=project, recipe="dpo", config=recipe.to_json(), n_rounds=1, state="running", started_by=erin
    )
    group = JobGroup.objects.create(project=project, name="evaluation", open_count=1)
    round_ = Round.objects.create(loop=loop, index=1, stage="evaluation", group=group)
    Job.objects.create(
        project=project, kind="evaluation.run", queue="gpu", group=group, state="running", message="measuring KL",
        step=2, n_steps=8, seconds_each=each, started_at=now - timedelta(hours=1),
    )  # fmt: skip
    (station,) = [one for one in stations_of(loop, round_, now) if one.state == "running"]
    assert station.note == "measuring KL"
    assert station.progress is not None
    assert (station.progress.pace, station.progress.left) == (pace, 6 * each)
