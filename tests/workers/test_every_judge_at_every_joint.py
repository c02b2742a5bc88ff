"""Every kind of judge at every joint: really asked, with a fake at the HTTP end only, or refused in one sentence.

Inside a training step it is asked in `tests/prefloop/engine/test_every_judge_in_a_step.py`.
"""

from __future__ import annotations

import pytest

from apps.jobs.drain import drain
from apps.jobs.models import Job
from apps.judging.alignment import alignment_start
from apps.judging.figures import judge_figures
from apps.judging.models import AttackTrial
from apps.judging.services import (
    BadJudge,
    check_joint,
    judge_create,
    judging_run_create,
    scoring_enqueue,
)
from apps.judging.trials import attack_start, trial_start
from apps.labels.models import Score, Verdict
from apps.labels.selectors import judge_labels
from apps.policies.endpoints import SIMULATED_SCHEME, endpoint_create
from apps.policies.services import checkpoint_import
from apps.prompts.models import Prompt
from apps.samples.models import Comparison, Completion, SamplingRun
from apps.samples.services import EVALUATION
from prefloop.judging.kinds import JOINTS, KINDS, STEP_LABELS, STEP_SCORES, kind_of
from prefloop.model_sources import Directory
from tests.workers.ensembles import ensemble_create

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.django_db
KIND_LETTER = "Dear Maria,\nThank you so much for the wonderful flowers.\nWith love,\nTom"
ELSEWHERE = {STEP_LABELS.name, STEP_SCORES.name}
CELLS = [(kind, joint) for kind in KINDS for joint in JOINTS if joint not in ELSEWHERE]


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory):
    """A tiny random policy to which the two letters of a verdict are likely, and a random reward model."""
    from prefloop.policy.loading import reward_head, reward_model_from_policy, save_model
    from prefloop.policy.tiny import tiny_policy

    made = tiny_policy(chat=True, max_position_embeddings=4096)
    with torch.no_grad():
        letters = [made.tokenizer.convert_tokens_to_ids(letter) for letter in "AB"]
        made.model.lm_head.weight *= 0.05
        made.model.model.embed_tokens.weight[:, 0] = 8.0
        made.model.lm_head.weight[letters, 0] = 20.0
    reward = reward_model_from_policy(tiny_policy(seed=5, chat=True))
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(6)
        reward_head(reward.model).weight.normal_()
    directory = tmp_path_factory.mktemp("models")
    for role, model in (("policy", made), ("reward", reward)):
        save_model(model.model, model.tokenizer, directory / role)
    return directory


@pytest.fixture
def make_kind(project, settings, tmp_path, tiny_models):
    """make_kind(name): a judge of that kind; one that can't be asked is there as an import leaves it."""
    settings.STORE_DIR = tmp_path / "store"
    project.world = "letters"
    project.save(update_fields=["world"])

    def make(kind, name="the-judge"):
        declared, more = kind_of(kind), {}
        if declared.weights:
            source = tiny_models / declared.weights
            more["checkpoint"] = checkpoint_import(
                project=project, name=f"tiny-{name}", role=declared.weights, source=Directory(source)
            )
        if declared.modes:
            more |= {"mode": "logprob", "order_policy": "average", "criterion": "kind and correct"}
        if declared.endpoint:
            more["endpoint"] = endpoint_create(
                project=project, name=name, base_url=f"{SIMULATED_SCHEME}letters", model="m", is_simulated=True
            )
        if declared.metadata:
            more["options"] = {"rules": [{"check": "contains", "text": "Maria"}]}
        if declared.members:
            members = [make("rules", "one"), make("world", "two"), make("llm", "three")]
            return ensemble_create(project=project, name=name, members=members)
        return judge_create(project=project, name=name, kind=kind, **more)

    return make


@pytest.fixture
def pair(project, make_prompt, make_comparison):
    """A pair whose first answer is better to whoever knows what a thank-you note is."""
    prompt = make_prompt(project, "Write a thank-you note to Maria for the flowers.")
    return make_comparison(project, (KIND_LETTER, "The flowers."), prompt=prompt)


def work():
    drain(["cpu", "gpu"], worker_name="w")
    assert set(Job.objects.values_list("state", flat=True)) == {"succeeded"}, list(Job.objects.values_list("error"))


def decided(judge, pair):
    """What all that it said of the pair comes to."""
    label = judge_labels(comparison_ids=[pair.pk], judge=judge)[pair.pk]
    assert (label.state == "ok") == (label.outcome is not None)
    return label


def asks(purpose):
    def check(judge, pair):
        judging_run_create(project=judge.project, judge=judge, comparison_ids=[pair.pk], purpose=purpose)
        work()
        assert decided(judge, pair).state == "ok"
        orders = set(Verdict.objects.filter(judge=judge).values_list("order", flat=True))
        assert orders == ({"01", "10"} if judge.declared.modes else orders)

    return check


def scores(judge, pair):
    rows = [pair.first, pair.second]
    asked = endpoint_create(
        project=judge.project, name="x", base_url=f"{SIMULATED_SCHEME}letters", model="m", is_simulated=True
    )
    run = SamplingRun.objects.create(
        project=judge.project, endpoint=asked, engine="endpoint", api="chat", prompt_ids=[pair.prompt_id], n=2
    )
    for index, row in enumerate(rows):
        row.run, row.index = run, index
        row.save(update_fields=["run", "index"])
    scoring_enqueue(judge=judge, sampling_run=run)
    work()
    values = dict(Score.objects.filter(judge=judge, state="ok").values_list("completion_id", "value"))
    assert set(values) == {row.pk for row in rows}
    if judge.declared.name in ("rules", "world", "llm", "ensemble"):  # they know which is better
        assert values[pair.first_id] > values[pair.second_id]


def stored(judge, pair):
    """Nothing new is asked: what it has said is its label."""
    Verdict.objects.create(judge=judge, comparison=pair, order="01", state="ok", outcome="first", p_first=0.9)
    Verdict.objects.create(judge=judge, comparison=pair, order="10", state="ok", outcome="first", p_first=0.9)
    label = decided(judge, pair)
    assert (label.outcome, label.p_first) == ("first", pytest.approx(0.9))
    assert not Job.objects.exclude(kind="policies.speed").exists()  # which an import may leave


def agrees(judge, pair):
    stored(judge, pair)
    pair.held_out, pair.gold = True, "first"
    pair.save(update_fields=["held_out", "gold"])
    assert judge.pk in judge_figures(judge.project)


def belongs(judge, pair):
    other = judge_create(project=judge.project, name="other", kind="world")
    together = ensemble_create(project=judge.project, name="together", members=[judge, other])
    judging_run_create(project=judge.project, judge=together, comparison_ids=[pair.pk])
    work()
    assert Verdict.objects.filter(judge=judge, comparison=pair).exists()
    said = Verdict.objects.get(judge=together)
    assert judge.name in said.rationale
    assert "other: first" in said.rationale


def tried(judge, pair):
    n_verdicts = Verdict.objects.count()
    job = trial_start(draft=judge, comparison_ids=[pair.pk])
    work()
    job.refresh_from_db()
    assert job.result["labels"][str(pair.pk)]["state"] in ("ok", "inconsistent")
    said = job.result["calls"]
    assert said
    assert all(one["comparison"] == pair.pk for one in said)
    assert Verdict.objects.count() == n_verdicts
    assert not Score.objects.exists()


def attacked(judge, pair):
    asks("manual")(judge, pair)
    attack_start(judge=judge, n=1)
    work()
    assert AttackTrial.objects.filter(judge=judge, comparison=pair).exists()


def aligned(judge, pair):
    """The criterion alone changes, so that no correction is needed; it is measured on two pairs of one prompt."""
    Prompt.objects.filter(pk=pair.prompt_id).update(split="eval")
    third = Completion.objects.create(project=judge.project, prompt=pair.prompt, text="Hey.", index=7)
    Comparison.objects.create(
        project=judge.project, prompt=pair.prompt, first=pair.first, second=third, held_out=True, gold="first"
    )
    Comparison.objects.filter(pk=pair.pk).update(held_out=True, gold="first")
    made = alignment_start(judge=judge, comparison_ids=[], criterion="kind and correct, always", n=2)
    work()
    made.refresh_from_db()
    assert made.figures["n"] == 2
    assert made.verdicts.count() == 8  # two versions, two pairs, two orders
    assert not Verdict.objects.filter(judge=judge).exists()


REALLY = {
    "round labels": asks("loop"),
    "stored labels": stored,
    "scores": scores,
    "review": stored,
    "agreement": agrees,
    "evaluation": asks(EVALUATION),
    "asking": asks("manual"),
    "member": belongs,
    "trial": tried,
    "attack": attacked,
    "aligning": aligned,
}


def test_every_joint_is_tried_here_or_inside_a_step():
    assert set(REALLY) | ELSEWHERE == set(JOINTS)


@pytest.mark.parametrize(("kind", "joint"), CELLS)
def test_a_judge_of_this_kind_works_there_or_says_why_not(kind, joint, make_kind, pair):
    judge = make_kind(kind)
    refused = judge.refusal(JOINTS[joint])
    if not refused:
        REALLY[joint](judge, pair)
        return
    with pytest.raises(BadJudge) as told:
        check_joint(judge, JOINTS[joint])
    assert str(told.value) == refused
    assert "\n" not in refused
    starts = {
        "round labels": lambda: judging_run_create(project=judge.project, judge=judge, comparison_ids=[pair.pk]),
        "asking": lambda: judging_run_create(project=judge.project, judge=judge, comparison_ids=[pair.pk]),
        "trial": lambda: trial_start(draft=judge, comparison_ids=[pair.pk]),
        "attack": lambda: attack_start(judge=judge),
        "aligning": lambda: alignment_start(judge=judge, comparison_ids=[], criterion="x"),
        "member": lambda: ensemble_create(project=judge.project, name="x", members=[judge, make_kind("world", "w")]),
    }
    if joint in starts:
        with pytest.raises(BadJudge, match=r"^judge 'the-judge' "):
            starts[joint]()
    assert not Job.objects.exclude(kind="policies.speed").exists()  # which an import may leave
