"""The pages of loops and their API: who sees what, what a form refuses, and what travels while a loop runs."""

from __future__ import annotations

import pytest
from django.utils import timezone

from apps.jobs.models import Job
from apps.labels.services import preferences_derive
from apps.training.loops.forms import LoopForm
from apps.training.loops.suggested import MOST, SUGGESTED
from apps.training.models import Loop, LoopState, Round, Snapshot
from prefloop.config import describe
from prefloop.recipes.catalogue import get_recipe, list_recipes

pytestmark = pytest.mark.django_db
LOOPS = "/p/letters-test/loops/"
NEW = f"{LOOPS}new/iterative-dpo/"


def form_data(project, recipe="iterative-dpo", **changes):
    """What a browser would post when nothing was touched but `changes`."""
    form = LoopForm(project, get_recipe(recipe))
    data = {name: form[name].value() for name in form.fields}
    return {key: "" if value is None else value for key, value in (data | changes).items()}


# --- who sees and does what ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_leads_read_engineers_start_and_others_see_nothing(start, drive, ann, bob, erin, charlie, client_for):
    loop = start(n_rounds=1, **{"review.mode": "all"})
    drive()
    snapshot_pages = [f"/p/letters-test/snapshots/{row.pk}/" for row in Snapshot.objects.all()]
    pages = [LOOPS, f"{LOOPS}new/", NEW, f"{NEW}forecast/", f"{LOOPS}{loop.pk}/", f"{LOOPS}{loop.pk}/curves/"]
    for path in pages + snapshot_pages:
        assert client_for(bob).get(path).status_code == 200, path
        assert client_for(erin).get(path).status_code == 200, path
        assert client_for(ann).get(path).status_code == 404, path
        assert client_for(charlie).get(path).status_code == 404, path
        assert client_for(None).get(path).status_code == 302, path
    for verb in ("cancel", "resume", "continue"):
        for person in (ann, bob, charlie):
            assert client_for(person).post(f"{LOOPS}{loop.pk}/{verb}/").status_code == 404
    assert client_for(bob).post(NEW, form_data(loop.project)).status_code == 404
    assert Loop.objects.count() == 1
    assert Loop.objects.get().state == LoopState.WAITING


@pytest.mark.slow
def test_a_loop_and_a_training_set_are_not_reached_through_another_project(
    start, drive, charlie, other_project, client_for
):
    loop = start(n_rounds=1)
    drive()
    for path in (f"loops/{loop.pk}/", f"loops/{loop.pk}/curves/", f"snapshots/{Snapshot.objects.get().pk}/"):
        assert client_for(charlie).get(f"/p/{other_project.slug}/{path}").status_code == 404
    assert client_for(charlie).post(f"/p/{other_project.slug}/loops/{loop.pk}/cancel/").status_code == 404


@pytest.mark.slow
def test_a_lead_is_shown_no_button_that_does_nothing(start, drive, bob, erin, client_for):
    loop = start(n_rounds=1, **{"review.mode": "all"})
    drive()
    for path, word in ((NEW, ">Start</button>"), (f"{LOOPS}{loop.pk}/", "Continue without the rest</button>")):
        assert word not in client_for(bob).get(path).content.decode().replace("\n", "")
        assert word in client_for(erin).get(path).content.decode().replace("\n", "")


# --- starting --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_gallery_names_every_recipe_and_what_it_still_lacks(project, loop_project, bob, client_for):
    page = client_for(bob).get(f"{LOOPS}new/").content.decode()
    for recipe in list_recipes():
        assert f">{recipe.name}</a>" in page
        assert recipe.paper.split(";")[0] in page
    assert "No comparison of the project has a label yet" in page
    assert "Can start now" in page


@pytest.mark.slow
def test_the_gallery_begins_with_what_suits_the_project(
    project, loop_project, make_comparison, make_vote, bob, client_for
):
    def suggested() -> list[str]:
        page = client_for(bob).get(f"{LOOPS}new/").content.decode()
        section = page.partition("Suggested for this project")[2].partition("</section>")[0]
        return [recipe for recipe, _ in SUGGESTED.values() if f"/loops/new/{recipe}/" in section]

    before = suggested()
    assert "dpo" not in before, "nothing is labelled"
    assert 1 <= len(before) <= MOST
    make_vote(make_comparison(loop_project, ("Thanks!", "No.")), choice="first")
    preferences_derive(project=loop_project, now=timezone.now())
    assert suggested()[0] == "dpo"
    loop_project.checkpoints.all().update(is_default=False)
    assert suggested() == [], "nothing can start"


@pytest.mark.parametrize("recipe", [one.name for one in list_recipes()])
def test_the_form_has_every_key_that_a_choice_can_change_and_its_defaults_start_the_recipe_itself(loop_project, recipe):
    keys = {info.key for info in describe(get_recipe(recipe)) if len(info.choices) != 1 or info.prefixes}
    form = LoopForm(loop_project, get_recipe(recipe), form_data(loop_project, recipe))
    assert set(form.fields) == keys | {"rounds", "seed", "start"}
    assert form.is_valid(), form.errors
    assert form.chosen == {}
    assert form.made == get_recipe(recipe)
    shown = {bound.name for panel in form.panels() for bound in [*panel.basic, *panel.advanced]}
    assert shown == keys


def test_start_makes_the_loop_with_what_was_changed(loop_project, erin, client_for):
    data = form_data(loop_project, rounds="2", seed="7", **{"objective.beta": "0.7", "draws.n": "4"})
    answer = client_for(erin).post(NEW, data)
    loop = Loop.objects.get()
    assert answer["Location"] == f"{LOOPS}{loop.pk}/"
    assert (loop.recipe, loop.n_rounds, loop.seed, loop.started_by) == ("iterative-dpo", 2, 7, erin)
    assert loop.chosen == {"objective.beta": "0.7", "draws.n": "4"}
    assert loop.config["objective"]["beta"] == 0.7
    assert Job.objects.get().kind == "rounds.advance"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        (
            {"objective.beta": "-1"},
            "objective.beta",
            "“β, the pull to the reference” must be a number &gt; 0, not &#x27;-1&#x27;",
        ),
        ({"objective.beta": "nan"}, "objective.beta", "“β, the pull to the reference” must be a number &gt; 0"),
        ({"draws.n": "1"}, "draws.n", "“Answers a prompt” must be a whole number ≥ 2"),
        ({"draws.n": "<b>"}, "draws.n", "not &#x27;&lt;b&gt;&#x27;"),
        ({"rounds": "0"}, "rounds", "greater than or equal to 1"),
        ({"rounds": "1001"}, "rounds", "less than or equal to 1000"),
        ({"seed": "-1"}, "seed", "greater than or equal to 0"),
        ({"start": "nobody"}, "start", "Select a valid choice"),
        ({"review.mode": "maybe"}, "review.mode", "Select a valid choice"),
    ],
)
def test_what_can_not_be_is_said_at_its_field_and_nothing_is_made(loop_project, erin, client_for, changes, field, says):
    answer = client_for(erin).post(NEW, form_data(loop_project, **changes))
    assert answer.status_code == 400
    page = answer.content.decode()
    assert page.count(says) == 1
    at = page.index(f'id="id_{field}-errors"')
    assert says in page[at : at + 400]
    assert Loop.objects.count() == Round.objects.count() == Job.objects.count() == 0


def test_two_mistakes_are_both_said(loop_project):
    form = LoopForm(
        loop_project,
        get_recipe("iterative-dpo"),
        form_data(loop_project, **{"objective.beta": "x", "objective.lr": "2"}),
    )
    assert not form.is_valid()
    assert set(form.errors) == {"objective.beta", "objective.lr"}


def test_what_the_project_lacks_is_said_on_top_and_nothing_is_made(loop_project, erin, client_for):
    answer = client_for(erin).post(f"{LOOPS}new/dpo/", form_data(loop_project, "dpo"))
    assert answer.status_code == 400
    assert "no comparison of the project has a label yet" in answer.content.decode()
    assert Loop.objects.count() == Job.objects.count() == 0


@pytest.mark.slow
def test_what_another_loop_makes_is_offered_to_be_made_from_the_page(
    loop_project, bob, erin, make_checkpoint, client_for
):
    offered = f"{LOOPS}new/tandem-ipo/ingredient/"
    for path in (f"{LOOPS}new/", f"{LOOPS}new/tandem-ipo/"):
        assert offered in client_for(erin).get(path).content.decode()
        assert "Run online-ipo now" in client_for(erin).get(path).content.decode()
        assert "Run online-ipo now" not in client_for(bob).get(path).content.decode()
    assert client_for(bob).post(offered).status_code == 404
    answer = client_for(erin).post(offered)
    made = Loop.objects.get()
    assert answer["Location"] == f"{LOOPS}{made.pk}/"
    assert (made.recipe, made.chosen) == ("online-ipo", {})
    # once it is there, nothing is offered and nothing more is made
    Loop.objects.update(state="done")
    assert "Run online-ipo now" not in client_for(erin).get(f"{LOOPS}new/tandem-ipo/").content.decode()
    answer = client_for(erin).post(offered, follow=True)
    assert "needs nothing that another loop could create" in answer.content.decode()
    assert Loop.objects.count() == 1


@pytest.mark.slow
def test_labels_prompts_and_policies_that_lack_are_offered_by_a_link(project, erin, client_for, loop_project):
    page = client_for(erin).get(f"{LOOPS}new/dpo/").content.decode()
    assert 'href="/p/letters-test/annotate/">' in page.split("data-forecast")[1]
    loop_project.prompts.filter(split="eval").delete()
    assert "/p/letters-test/prompts/add/" in client_for(erin).get(NEW).content.decode()
    loop_project.checkpoints.update(is_default=False)
    assert "/p/letters-test/policies/import/" in client_for(erin).get(NEW).content.decode()


def test_an_unknown_recipe_is_no_page(loop_project, erin, client_for):
    assert client_for(erin).get(f"{LOOPS}new/dpoo/").status_code == 404
    assert client_for(erin).post(f"{LOOPS}new/dpoo/", {}).status_code == 404
