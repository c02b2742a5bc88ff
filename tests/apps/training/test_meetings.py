"""Two checkpoints meet on the same held-out prompts: who may start it, who compares, and that the board counts it."""

from __future__ import annotations

import pytest
from django.utils import timezone

from apps.jobs import registry
from apps.labels.models import Judge, JudgingRun
from apps.policies.models import Checkpoint, Endpoint
from apps.projects.services import guideline_add
from apps.rankings.selectors import n_wanting
from apps.reports.services import leaderboard_report
from apps.samples.models import Comparison, Completion
from apps.training.rounds.evaluation import answers_run, games_of
from apps.training.rounds.meetings import MEETING, Meeting, MeetingRefused, meeting_asks, meeting_result, meeting_start
from prefloop.criteria import Criterion
from prefloop.stats.head_to_head import with_people


@pytest.fixture
def two(loop_project, make_checkpoint):
    return make_checkpoint(loop_project, "new"), loop_project.checkpoints.get(name="start")


@pytest.fixture
def meeting_drive(fakes, drive):
    """drive(), with a stand-in for the part of a meeting that needs weights."""

    def meet(ctx):
        meeting = Meeting(**ctx.payload)
        runs = []
        for pk in (meeting.first, meeting.second):
            checkpoint = Checkpoint.objects.get(pk=pk)
            run = answers_run(
                checkpoint, meeting.prompts, seed=meeting.seed, n=meeting.n, max_tokens=meeting.max_tokens
            )
            Completion.objects.bulk_create(
                Completion(
                    project_id=run.project_id,
                    prompt_id=prompt,
                    run=run,
                    index=index,
                    text=f"{checkpoint.name} says {index}",
                    model_name=checkpoint.name,
                )
                for prompt in meeting.prompts
                for index in range(meeting.n)
            )
            runs.append(run)
        return meeting_asks(
            project=runs[0].project, meeting=meeting, ours=runs[0], theirs=runs[1], pairs=[(0, 1), (1, 0)]
        )

    fakes.handlers[MEETING] = registry.Handler(MEETING, "gpu", meet)
    return drive


@pytest.fixture
def critic(loop_project):
    endpoint = Endpoint.objects.create(project=loop_project, name="gpt", base_url="http://127.0.0.1:1/v1", model="m")
    return Judge.objects.create(
        project=loop_project, name="critic", kind="llm", endpoint=endpoint, criterion="kind", order_policy="both_agree"
    )


@pytest.mark.slow
def test_both_answer_the_same_prompts_and_the_board_has_them(loop_project, two, meeting_drive, critic):
    first, second = two
    group = meeting_start(project=loop_project, first=first, second=second, n_prompts=2)
    meeting_drive()
    told = group.jobs.get().result
    run = JudgingRun.objects.get()
    assert (run.judge, run.purpose, len(run.comparison_ids)) == (critic, "evaluation", 4)
    rows = Comparison.objects.filter(origin="evaluation").select_related("prompt", "first", "second")
    assert {row.prompt.split for row in rows} == {"eval"}
    assert all(row.held_out and not row.for_people and row.first.index != row.second.index for row in rows)
    # the later answer, the start's, won on one prompt and tied on the other
    assert meeting_result(told).win_rate.rate == 0.25
    board = {row["name"]: row for row in leaderboard_report(project=loop_project)["models"]}
    assert set(board) == {"new", "start"}
    assert board["new"]["win_rate"] == 0.25


def test_people_get_as_many_pairs_as_were_asked_for(loop_project, two, meeting_drive, ann):
    Judge.objects.all().update(retired_at=timezone.now())
    first, second = two
    meeting_start(project=loop_project, first=first, second=second, n_prompts=0, people=3)
    meeting_drive()
    assert not JudgingRun.objects.exists()
    assert n_wanting(project=loop_project, user=ann, now=timezone.now()) == 3


@pytest.mark.slow
def test_people_s_votes_count_by_what_they_are_asked_by(loop_project, two, meeting_drive, make_vote):
    criteria = [Criterion("helpful", "Which helps more?"), Criterion("honest", "Which is more honest?")]
    guideline_add(project=loop_project, text="Compare them.", actor=None, criteria=criteria)
    Judge.objects.filter(name="reward-model").update(criterion_name="honest")
    told = {}
    for by, judge in (("judge", "reward-model"), ("people", "")):
        if not judge:
            Judge.objects.all().update(retired_at=timezone.now())
        group = meeting_start(
            project=loop_project, first=two[0], second=two[1], n_prompts=0, people=2, judge=judge, seed=len(told)
        )
        meeting_drive()
        told[by] = group.jobs.get().result
        for pair in Comparison.objects.filter(pk__in=told[by]["people"]):
            make_vote(pair, "first", criterion="helpful")
            make_vote(pair, "second", criterion="honest")
    assert told["judge"]["criteria"] == {"honest": 1.0}
    assert [game.human for game in games_of(told["people"], "initial") if game.human is not None] == [0.5, 0.5]
    assert with_people(games_of(told["judge"], "initial")).n_games == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_prompts": -1}, "the number of prompts must be between"),
        ({"n": 1}, "answers each must be between 2 and 16"),
        ({"people": -1}, "the number of pairs for people"),
        ({"judge": "lost"}, "no judge 'lost'"),
        ({"second": "first"}, "choose two different checkpoints"),
        ({"second": "reward"}, "'scorer' is not a policy of project"),
    ],
)
def test_what_can_not_meet_is_refused_in_one_sentence(loop_project, two, change, said):
    first, second = two
    chosen = {"first": first, "second": second, "n_prompts": 2} | change
    if change.get("second") == "first":
        chosen["second"] = first
    elif change.get("second") == "reward":
        chosen["second"] = loop_project.checkpoints.get(name="scorer")
    with pytest.raises(Exception, match=said) as refused:
        meeting_start(project=loop_project, **chosen)
    assert "\n" not in str(refused.value)


def test_without_a_judge_or_held_out_prompts_there_is_nothing_to_compare_by(loop_project, two):
    first, second = two
    Judge.objects.all().update(kind="imported")
    with pytest.raises(MeetingRefused, match="no judge of the project can compare answers"):
        meeting_start(project=loop_project, first=first, second=second, n_prompts=2)
    loop_project.prompts.filter(split="eval").delete()
    with pytest.raises(MeetingRefused, match="has no held-out prompts"):
        meeting_start(project=loop_project, first=first, second=second, n_prompts=2, people=2)


@pytest.mark.slow
def test_engineers_start_it_from_the_board_and_others_do_not_see_the_button(
    loop_project, two, critic, erin, bob, charlie, client_for
):
    first, second = two
    board = f"/p/{loop_project.slug}/reports/leaderboard/"
    meet = f"/p/{loop_project.slug}/policies/meet/"
    assert b"Compare on these prompts" in client_for(erin).get(board).content
    assert b"Compare on these prompts" not in client_for(bob).get(board).content
    chosen = {"first": first.pk, "second": second.pk, "prompts": 2, "judge": "critic", "people": 0}
    assert client_for(bob).post(meet, chosen).status_code == 404
    assert client_for(charlie).post(meet, chosen).status_code == 404
    answer = client_for(erin).post(meet, chosen, follow=True)
    assert "Compare new with start on 2 prompts: running." in answer.content.decode()
    answer = client_for(erin).post(meet, chosen | {"second": first.pk}, follow=True)
    assert "choose two different checkpoints" in answer.content.decode()
    answer = client_for(erin).post(meet, chosen | {"prompts": "many"}, follow=True)
    assert "Held-out prompts: Enter a whole number." in answer.content.decode()


@pytest.mark.slow
def test_programs_say_which_two_meet(loop_project, two, critic, erin, bob, api_for):
    first, second = two
    at, api = f"/api/v1/projects/{loop_project.slug}/meetings/", api_for(erin)
    sent = {"first": first.pk, "second": second.pk, "prompts": 2, "judge": "critic"}
    begun = api.post(at, sent, format="json")
    assert (begun.status_code, begun.json()["name"]) == (202, "Compare new with start on 2 prompts")
    assert len(begun.json()["jobs"]) == 1
    for wrong, says in (
        ({"second": first.pk}, "choose two different checkpoints"),
        ({"second": None}, "This field may not be null."),
        ({"first": 999_999}, "first: Select a valid choice."),
        ({"prompts": 0}, "prompts: Ensure this value is greater"),
        ({"judge": "nobody"}, "judge: Select a valid choice."),
    ):
        refused = api.post(at, sent | wrong, format="json")
        assert (refused.status_code, says in str(refused.json())) == (400, True), (wrong, refused.json())
    alone = api.post(at, {"first": first.pk}, format="json")
    assert alone.json()["detail"] == "second: This field is required."
    assert api_for(bob).post(at, sent, format="json").status_code == 404
