"""From a label to the checkpoints that learned from it and back: what is found, and who may see it."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.labels.models import Override
from apps.labels.services import preferences_derive
from apps.training.lineage.usage import usage_of
from apps.training.loops.steering import loop_continue
from apps.training.models import Round, SnapshotItem

pytestmark = pytest.mark.django_db
BASE = "/p/letters-test/"


@pytest.fixture
def overridden(start, drive, loop_project, erin):
    """A loop of two rounds in whose first one label was turned round by a person; that comparison."""
    loop = start(n_rounds=2, **{"review.mode": "all"})
    drive()
    round_ = Round.objects.get(loop=loop, index=1)
    from apps.samples.models import Comparison

    comparison = Comparison.objects.get(pk=round_.review_comparison_ids[0])
    verdict = comparison.verdicts.get()
    Override.objects.create(
        comparison=comparison,
        judge=loop.judge,
        user=erin,
        rater=erin.username,
        kind="override",
        judge_outcome=verdict.outcome,
        choice="second" if verdict.outcome == "first" else "first",
    )
    preferences_derive(project=loop_project, comparison_ids=[comparison.pk], now=timezone.now())
    for _ in range(2):
        loop.refresh_from_db()
        loop_continue(loop=loop, by=erin)
        drive()
    return comparison


@pytest.mark.slow
def test_an_override_is_followed_to_every_checkpoint_and_back(overridden, bob, client_for):
    first, second = Round.objects.filter(index__gt=0).order_by("index")
    usage = usage_of(overridden)
    assert [use.runs[0].round for use in usage.uses if use.item.snapshot_id == first.training_runs.get().snapshot_id]
    direct = {run.output.name for use in usage.uses for run in use.runs}
    assert first.output.name in direct
    assert direct | {row.name for row in usage.heirs} == {first.output.name, second.output.name}
    page = client_for(bob).get(f"{BASE}comparisons/{overridden.pk}/used/").content.decode()
    for round_ in (first, second):
        assert f"{BASE}policies/{round_.output_id}/" in page
    assert (
        f"{BASE}comparisons/{overridden.pk}/used/"
        in client_for(bob).get(f"{BASE}comparisons/{overridden.pk}/").content.decode()
    )
    # and back: from the checkpoint, overrides only
    labels = client_for(bob).get(f"{BASE}policies/{first.output_id}/labels/?show=overrides")
    assert [item.comparison_id for item, _ in labels.context["rows"]] == [overridden.pk]
    (label,) = [label for _, label in labels.context["rows"]]
    assert {label.outcome, label.was} == {"first", "second"}
    assert labels.context["rows"][0][0].label_ids == [f"override:{Override.objects.get().pk}"]
    everything = client_for(bob).get(f"{BASE}policies/{first.output_id}/labels/")
    assert everything.context["page"].paginator.count == first.training_runs.get().snapshot.items.count() > 1
    assert (
        f"{BASE}policies/{first.output_id}/labels/"
        in client_for(bob).get(f"{BASE}policies/{second.output_id}/labels/").content.decode()
    )


@pytest.mark.slow
def test_what_was_never_trained_on_says_so(loop_project, make_comparison, bob, client_for):
    free, held = make_comparison(loop_project), make_comparison(loop_project, held_out=True)
    assert usage_of(free).uses == usage_of(free).heirs == ()
    assert "No training set contains it" in client_for(bob).get(f"{BASE}comparisons/{free.pk}/used/").content.decode()
    assert "It is held out" in client_for(bob).get(f"{BASE}comparisons/{held.pk}/used/").content.decode()
    start = loop_project.checkpoints.get(name="start")
    assert "No training labels are known" in client_for(bob).get(f"{BASE}policies/{start.pk}/labels/").content.decode()


@pytest.mark.slow
def test_leads_see_lineage_and_nobody_else_learns_anything(
    start, drive, alice, bob, erin, ann, charlie, client_for, other_project
):
    start(n_rounds=1)
    drive()
    item, made = SnapshotItem.objects.first(), Round.objects.get(index=1).output_id
    paths = [f"comparisons/{item.comparison_id}/used/", f"policies/{made}/labels/"]
    for path in paths:
        for person in (alice, erin, bob):
            assert client_for(person).get(BASE + path).status_code == 200
        for person in (ann, charlie):
            assert client_for(person).get(BASE + path).status_code == 404
        assert client_for(charlie).get(f"/p/{other_project.slug}/{path}").status_code == 404


@pytest.mark.slow
def test_a_page_of_labels_costs_the_same_for_more_of_them(start, drive, bob, client_for, monkeypatch):
    from apps.training.lineage import usage_views

    start(n_rounds=1)
    drive()
    path = f"{BASE}policies/{Round.objects.get(index=1).output_id}/labels/"
    client = client_for(bob)
    client.get(path)
    costs = []
    for size in (1, 4):
        monkeypatch.setattr(usage_views, "PAGE", size)
        with CaptureQueriesContext(connection) as queries:
            assert len(client.get(path).context["rows"]) == size
        costs.append(len(queries))
    assert costs[0] == costs[1]
    assert len(client.get(f"{path}?page=999&show=nonsense").context["rows"]) > 0  # the last page, all labels
