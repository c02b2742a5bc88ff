"""The page of a loop that runs, has failed or has ended, and what the API says of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from apps.jobs.models import FailureClass
from apps.jobs.registry import JobFailure
from apps.policies.store import store_path
from apps.samples.models import Completion
from apps.training.models import LoopState, Snapshot

pytestmark = pytest.mark.django_db
LOOPS = "/p/letters-test/loops/"
NEW = f"{LOOPS}new/iterative-dpo/"


@pytest.mark.slow
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


@pytest.mark.slow
def test_each_round_leads_to_the_checkpoint_it_made(start, drive, bob, client_for):
    loop = start(n_rounds=1)
    drive()
    made = loop.rounds.get(index=1).output
    page = client_for(bob).get(f"{LOOPS}{loop.pk}/").content.decode()
    assert f'href="/p/letters-test/policies/{made.pk}/">{made.name}</a>' in page


@pytest.mark.slow
def test_the_curves_travel_once(start, drive, bob, client_for):
    loop = start(n_rounds=1)
    drive()
    path = f"{LOOPS}{loop.pk}/curves/"
    body = client_for(bob).get(path).json()
    assert [point["loss"] for point in body["points"]] == [0.7, 0.35]
    assert [row["round"] for row in body["rounds"]] == [0, 1]
    assert client_for(bob).get(path, {"since": body["since"]}).status_code == 204


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_cancel_by_the_button_and_a_second_press_says_so(start, erin, client_for):
    loop = start(n_rounds=1)
    client = client_for(erin)
    client.post(f"{LOOPS}{loop.pk}/cancel/")
    loop.refresh_from_db()
    assert loop.state == LoopState.CANCELLED
    again = client.post(f"{LOOPS}{loop.pk}/cancel/", follow=True)
    assert "is not running" in again.content.decode()


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_loop_s_page_asks_a_bounded_number_of_questions(start, drive, bob, client_for, django_assert_max_num_queries):
    start(n_rounds=3)
    loop = start(n_rounds=3)
    drive()
    client = client_for(bob)
    with django_assert_max_num_queries(94):
        client.get(f"{LOOPS}{loop.pk}/")
    path = f"{LOOPS}{loop.pk}/"
    since = client.get(path)["X-Since"]
    with django_assert_max_num_queries(16):
        assert client.get(path, {"part": "top", "since": since}).status_code == 204


# --- the API ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
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
