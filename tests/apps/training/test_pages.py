"""The pages of loops and their API: who sees what, what a form refuses, and what travels while a loop runs."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from django.utils import timezone

from apps.jobs.models import FailureClass, Job
from apps.jobs.registry import JobFailure
from apps.labels.services import preferences_derive
from apps.policies.store import store_path
from apps.samples.models import Completion
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


def test_a_loop_and_a_training_set_are_not_reached_through_another_project(
    start, drive, charlie, other_project, client_for
):
    loop = start(n_rounds=1)
    drive()
    for path in (f"loops/{loop.pk}/", f"loops/{loop.pk}/curves/", f"snapshots/{Snapshot.objects.get().pk}/"):
        assert client_for(charlie).get(f"/p/{other_project.slug}/{path}").status_code == 404
    assert client_for(charlie).post(f"/p/{other_project.slug}/loops/{loop.pk}/cancel/").status_code == 404


def test_a_lead_is_shown_no_button_that_does_nothing(start, drive, bob, erin, client_for):
    loop = start(n_rounds=1, **{"review.mode": "all"})
    drive()
    for path, word in ((NEW, ">Start</button>"), (f"{LOOPS}{loop.pk}/", "Continue without the rest</button>")):
        assert word not in client_for(bob).get(path).content.decode().replace("\n", "")
        assert word in client_for(erin).get(path).content.decode().replace("\n", "")


# --- starting --------------------------------------------------------------------------------------------------------


def test_the_gallery_names_every_recipe_and_what_it_still_lacks(project, loop_project, bob, client_for):
    page = client_for(bob).get(f"{LOOPS}new/").content.decode()
    for recipe in list_recipes():
        assert f">{recipe.name}</a>" in page
        assert recipe.paper.split(";")[0] in page
    assert "No comparison of the project has a label yet" in page
    assert "Can start now" in page


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


# --- while it runs ---------------------------------------------------------------------------------------------------


def test_a_running_loop_answers_204_until_something_changes(start, drive, bob, client_for):
    loop = start(n_rounds=1)
    client, path = client_for(bob), f"{LOOPS}{loop.pk}/"
    before = client.get(path)["X-Since"]
    for part in ("top", "side", "rest"):
        assert client.get(path, {"part": part, "since": before}).status_code == 204
    assert client.get(LOOPS, {"since": client.get(LOOPS)["X-Since"]}).status_code == 204
    drive()
    for part in ("top", "side", "rest"):
        changed = client.get(path, {"part": part, "since": before})
        assert changed.status_code == 200
        assert "<html" not in changed.content.decode()
        assert changed["X-Poll"] == "stop"
    assert client.get(path, {"part": "nothing"}).status_code == 404


def test_each_round_leads_to_the_checkpoint_it_made(start, drive, bob, client_for):
    loop = start(n_rounds=1)
    drive()
    made = loop.rounds.get(index=1).output
    page = client_for(bob).get(f"{LOOPS}{loop.pk}/").content.decode()
    assert f'href="/p/letters-test/policies/{made.pk}/">{made.name}</a>' in page


def test_the_curves_travel_once(start, drive, bob, client_for):
    loop = start(n_rounds=1)
    drive()
    path = f"{LOOPS}{loop.pk}/curves/"
    body = client_for(bob).get(path).json()
    assert [point["loss"] for point in body["points"]] == [0.7, 0.35]
    assert [row["round"] for row in body["rounds"]] == [0, 1]
    assert client_for(bob).get(path, {"since": body["since"]}).status_code == 204


def test_a_failure_is_said_with_whose_it_was_and_what_to_do(start, drive, fakes, erin, client_for):
    loop = start(n_rounds=1)
    fakes.fail["training.run"] = JobFailure(FailureClass.OUT_OF_MEMORY, "<b>3 GiB</b> asked for, 2 GiB left")
    drive()
    client = client_for(erin)
    page = client.get(f"{LOOPS}{loop.pk}/").content.decode()
    assert "Memory ran out" in page
    assert "The machine is too small for these settings." in page
    assert "&lt;b&gt;3 GiB&lt;/b&gt; asked for" in page
    assert "Resume" in page
    assert client.post(f"{LOOPS}{loop.pk}/resume/").status_code == 302
    drive()
    loop.refresh_from_db()
    assert loop.state == LoopState.DONE


def test_a_round_whose_answers_are_all_alike_says_so_and_shows_them(start, drive, fakes, erin, client_for):
    sampling = fakes.handlers["sampling.chunk"]

    def silent(ctx):
        sampling.run(ctx)
        Completion.objects.update(text="")

    fakes.handlers["sampling.chunk"] = replace(sampling, run=silent)
    loop = start(n_rounds=1)
    drive()
    page = client_for(erin).get(f"{LOOPS}{loop.pk}/").content.decode()
    assert "no two answers to a prompt differ in both text and score" in page
    assert "Nothing has been sampled yet" not in page
    assert page.count("(empty)") == 6


def test_every_class_of_failure_has_words_of_its_own():
    from apps.training.lineage.failures import _FAILURES

    assert set(_FAILURES) == {str(value) for value in FailureClass.values}


def test_at_the_gate_the_page_leads_to_the_reviews_of_this_round_and_this_judge(
    start, drive, erin, loop_project, make_judge, client_for
):
    make_judge(loop_project, "another-judge")
    loop_project.label_judge = "another-judge"
    loop_project.save()
    loop = start(n_rounds=1, **{"review.mode": "all"})
    drive()
    client = client_for(erin)
    page = client.get(f"{LOOPS}{loop.pk}/").content.decode()
    address = f"/p/letters-test/review/?round={loop.rounds.get(index=1).pk}&amp;judge=reward-model"
    assert address in page
    assert "4 labels wait for people" in page
    review = client.get(address.replace("&amp;", "&")).content.decode()
    assert "4 comparisons, most useful first" in review
    assert client.post(f"{LOOPS}{loop.pk}/continue/").status_code == 302
    drive()
    loop.refresh_from_db()
    assert loop.state == LoopState.DONE


def test_cancel_by_the_button_and_a_second_press_says_so(start, erin, client_for):
    loop = start(n_rounds=1)
    client = client_for(erin)
    client.post(f"{LOOPS}{loop.pk}/cancel/")
    loop.refresh_from_db()
    assert loop.state == LoopState.CANCELLED
    again = client.post(f"{LOOPS}{loop.pk}/cancel/", follow=True)
    assert "is not running" in again.content.decode()


def test_a_training_set_is_downloaded_byte_for_byte(start, drive, bob, client_for):
    start(n_rounds=1)
    drive()
    snapshot = Snapshot.objects.get()
    path = f"/p/letters-test/snapshots/{snapshot.pk}/"
    first, second = client_for(bob).get(path), client_for(bob).get(path)
    assert first.content == second.content == store_path(snapshot.path).read_bytes()
    assert hashlib.sha256(first.content).hexdigest() == snapshot.sha256
    assert first["Content-Disposition"] == f'attachment; filename="{snapshot.name}.jsonl"'
    store_path(snapshot.path).write_bytes(b"{}\n")
    assert client_for(bob).get(path).status_code == 409
    store_path(snapshot.path).unlink()
    assert client_for(bob).get(path).status_code == 409


def test_what_a_model_wrote_is_escaped_wherever_it_is_shown(start, drive, bob, client_for, loop_project):
    from apps.samples.models import Completion

    loop = start(n_rounds=1)
    drive()
    Completion.objects.update(text="<script>alert(1)</script>")
    loop_project.prompts.update(text="<img src=x onerror=alert(2)>")
    for path in (f"{LOOPS}{loop.pk}/", LOOPS, "/p/letters-test/"):
        page = client_for(bob).get(path).content.decode()
        assert "<script>alert(1)" not in page
        assert "<img src=x" not in page


def test_a_loop_s_page_asks_a_bounded_number_of_questions(start, drive, bob, client_for, django_assert_max_num_queries):
    start(n_rounds=3)
    loop = start(n_rounds=3)
    drive()
    client = client_for(bob)
    with django_assert_max_num_queries(91):
        client.get(f"{LOOPS}{loop.pk}/")
    path = f"{LOOPS}{loop.pk}/"
    since = client.get(path)["X-Since"]
    with django_assert_max_num_queries(16):
        assert client.get(path, {"part": "top", "since": since}).status_code == 204


# --- the API ---------------------------------------------------------------------------------------------------------


def test_a_card_of_the_stream_leads_to_the_review_of_its_judge_and_its_round(start, drive, erin, bob, client_for):
    """A loop's judge need not be the project's, and what a round compared need not pass its gate."""
    from apps.judging.services import judge_create
    from apps.labels.models import Override
    from apps.samples.models import Comparison

    loop = start(n_rounds=1)
    drive()
    judge_create(project=loop.project, name="main", kind="imported")
    loop.project.label_judge = "main"
    loop.project.save()
    round_ = loop.rounds.get(index=1)
    ids = list(Comparison.objects.filter(origin=f"loop:{loop.pk}:1").order_by("id").values_list("pk", flat=True))
    page = client_for(bob).get(f"{LOOPS}{loop.pk}/").content.decode()
    query = f"?judge={loop.judge.name}&amp;round={round_.pk}"
    assert f"/p/letters-test/review/{ids[0]}/{query}" in page
    assert f"/p/letters-test/comparisons/{ids[0]}/{query}" in page
    query = query.replace("&amp;", "&")
    comparison = client_for(bob).get(f"/p/letters-test/comparisons/{ids[0]}/{query}").content.decode()
    assert f"/p/letters-test/review/{ids[0]}/?judge={loop.judge.name}&amp;round={round_.pk}" in comparison
    queue = client_for(bob).get(f"/p/letters-test/review/{ids[0]}/{query}")
    assert sorted(item.comparison_id for item in queue.context["items"]) == ids
    assert queue.context["judge"] == loop.judge
    first = queue.context["items"][0].comparison_id  # the last has no next one
    queue = client_for(bob).get(f"/p/letters-test/review/{first}/{query}")
    body = {"judge": loop.judge.name, "choice": "first", "next": queue.context["next_id"]}
    reply = client_for(bob).post(f"/p/letters-test/review/{first}/decide/{query}", body)
    assert queue.context["next_id"] in ids
    assert reply["Location"] == f"/p/letters-test/review/{queue.context['next_id']}/{query}"
    assert Override.objects.get().judge == loop.judge
