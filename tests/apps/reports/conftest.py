from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from django.utils import timezone

from prefloop.stats.report import ReportItem, ReportVerdict, ReportVote

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"


@pytest.fixture(autouse=True)
def own_var(settings, tmp_path):
    """Locks of a test lie in its own folder, and no report of another test is kept."""
    from apps.core.kept_figures import cache

    cache.clear()
    settings.VAR_DIR = tmp_path / "var"
    settings.VAR_DIR.mkdir()


@pytest.fixture
def shared():
    """shared("llmbar_natural") -> a folder of the shared data; skips where it is absent."""

    def find(name):
        path = SHARED / name
        if not path.is_dir():
            pytest.skip("shared-data")
        return path

    return find


@pytest.fixture
def bring(project):
    """bring(path, project=…): import as the command does."""
    from apps.exchange.services import import_file

    def run(path, *, project=project, **options):
        return import_file(
            project=project, path=path, name=Path(path).name, created_by=None, now=timezone.now(), **options
        )

    return run


@pytest.fixture
def told(project, at_once, make_comparison, make_vote, make_judge, make_verdict):
    """A small project in which everything happens: gold, ties, changes of mind, both orders, unread verdicts."""
    rng = np.random.default_rng(5)
    judges = [make_judge(project, "zoe"), make_judge(project, "abe")]
    outcomes = ["first", "second", "tie", "both_bad"]
    items, votes, verdicts = [], [], []
    with at_once(project):
        for i in range(24):
            gold = outcomes[i % 2] if i % 3 == 0 else ""
            texts = ("a" * int(rng.integers(1, 9)), "ü" * int(rng.integers(1, 9)))
            c = make_comparison(project, texts, models=("m1", "m2"), gold=gold, held_out=bool(gold))
            items.append(ReportItem(c.pk, gold or None, len(texts[0]), len(texts[1]), "m1", "m2"))
            for rater in ("zoe", "ann", "ben"):
                if rng.random() < 0.7:
                    choice = str(rng.choice([*outcomes[:2], "tie", "skip"]))
                    before = make_vote(c, "both_bad", rater=rater) if rng.random() < 0.3 else None
                    make_vote(c, choice, rater=rater, supersedes=before)
                    votes.append(ReportVote(c.pk, rater, choice))
                elif rng.random() < 0.5:  # said, and taken back: says nothing
                    make_vote(c, "withdrawn", rater=rater, supersedes=make_vote(c, "first", rater=rater))
            for judge in judges:
                for order in ("01", "10"):
                    said = str(rng.choice([*outcomes, "", "error"], p=[0.4, 0.3, 0.1, 0.05, 0.1, 0.05]))
                    state = "ok" if said in outcomes else "error" if said else "unparseable"
                    outcome = said if state == "ok" else ""
                    make_verdict(c, outcome, judge=judge, order=order, state=state)
                    verdicts.append(ReportVerdict(c.pk, judge.name, order, 0, state, outcome or None))
    return items, votes, verdicts
