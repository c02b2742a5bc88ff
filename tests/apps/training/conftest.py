"""A project in which a loop can run without torch: workers that make up answers, scores, weights and measurements."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import pytest

from apps.jobs import registry
from apps.jobs.drain import drain
from apps.labels.models import Judge, JudgingRun, Score, Verdict
from apps.labels.review_counts import reviews_counted
from apps.policies.models import Checkpoint
from apps.policies.store import store_path
from apps.prompts.models import Prompt
from apps.samples.models import Comparison, Completion, SamplingRun
from apps.training.changes import recipe_of
from apps.training.models import Counterfactual, KeptStep, Metric, Round, TrainingRun
from apps.training.rounds.evaluation import answers_run, evaluation_plan, evaluation_prompts
from apps.training.rounds.evaluators import evaluator_of
from apps.training.sets.runs import checkpoint_name
from prefloop.recipes.runspec import read_spec

SMALL = {"prompts.n": "4", "draws.n": "3"}


@dataclass
class Fakes:
    """What the made-up workers did. `fail[kind]`: raised once by the next job of that kind."""

    fail: dict = field(default_factory=dict)
    calls: list = field(default_factory=list)
    handlers: dict = field(default_factory=dict)  # by kind, for a test that brings workers of its own
    asks: bool = False  # evaluations ask their judge, in place of win rates that are made up


def _checkpoint(project, name, *, role="policy", parent=None, **more):
    return Checkpoint.objects.create(
        project=project,
        name=name,
        role=role,
        path=f"{project.slug}/checkpoints/{name}",
        fingerprint=hashlib.sha256(name.encode()).hexdigest(),
        parent=parent,
        **more,
    )


@pytest.fixture
def make_checkpoint():
    return _checkpoint


@pytest.fixture
def loop_project(project, make_prompt, settings, tmp_path):
    """Six prompts to train on, two held out, a policy, and a reward model that judges."""
    settings.STORE_DIR = tmp_path / "store"
    for number in range(6):
        make_prompt(project, f"Thank Maria for gift {number}.", split="train", external_id=f"t{number}")
    for number in range(2):
        make_prompt(project, f"Thank Peter for gift {number}.", split="eval", external_id=f"e{number}")
    start = _checkpoint(project, "start", is_default=True)
    reward = _checkpoint(project, "scorer", role="reward", parent=start)
    Judge.objects.create(
        project=project, name="reward-model", kind="reward_model", checkpoint=reward, order_policy="random"
    )
    return project


@pytest.fixture
def fakes(monkeypatch):
    """Stand in for the workers that need torch; the loop's own handler is the real one."""
    import apps.training.tasks as tasks
    from apps.labels.tasks import review
    from apps.rankings.tasks import settle

    state = Fakes()

    def sampling(ctx):
        run = SamplingRun.objects.get(pk=ctx.payload["run"])
        ids = run.prompt_ids[ctx.payload["start"] : ctx.payload["stop"]]
        Completion.objects.bulk_create(
            [
                Completion(
                    project_id=run.project_id,
                    prompt=prompt,
                    run=run,
                    index=index,
                    text=f"Answer {index} to {prompt.external_id} of run {run.pk}",
                    token_ids=[1, index],
                    finished=index < run.n - 2 or not prompt.external_id.endswith(("1", "3", "5")),
                    model_name=run.source_name,
                )
                for prompt in Prompt.objects.filter(pk__in=ids).order_by("id")
                for index in range(run.n)
            ],
            ignore_conflicts=True,
        )

    def scoring(ctx):
        run = SamplingRun.objects.get(pk=ctx.payload["run"])
        ids = run.prompt_ids[ctx.payload["start"] : ctx.payload["stop"]]
        rows = Completion.objects.filter(run=run, prompt__in=ids)
        Score.objects.bulk_create(
            [Score(judge_id=ctx.payload["judge"], completion=row, value=float(row.index)) for row in rows],
            ignore_conflicts=True,
        )

    def training(ctx):
        run = TrainingRun.objects.select_related("round__loop", "project", "start").get(pk=ctx.payload["run"])
        for step in (1, 2):
            values = {"loss": 0.7 / step, "rewards/margins": 0.1 * step, "rewards/accuracies": 0.5 + 0.1 * step}
            Metric.objects.update_or_create(run=run, step=step, defaults={"values": values})
        reward = run.kind == "reward-model"
        alone = reward or run.round is None
        name = f"made-{run.pk}" if alone else checkpoint_name(run.round.loop, run.round.index)
        if Checkpoint.objects.filter(project=run.project, name=name).exists():  # ReST trains several times a round
            name += f"-{run.pk}"
        if run.kind == "online":  # what the next block goes on from
            step = store_path(run.run_dir) / "step-000002"
            step.mkdir(parents=True, exist_ok=True)
            (step / "manifest.json").write_text("{}", "utf-8")
        run.output = _checkpoint(run.project, name, role="reward" if reward else "policy", parent=run.start)
        run.step, run.n_steps = 2, 2
        run.save()
        if read_spec(store_path(run.run_dir)).keep_every == 1:
            point = _checkpoint(run.project, f"{run.output.name}-at-1", parent=run.start)
            KeptStep.objects.create(run=run, step=1, checkpoint=point)

    def drawn(checkpoint, prompt_ids, recipe):
        run = answers_run(checkpoint, prompt_ids, seed=0, n=recipe.evaluation.n, max_tokens=9)
        Completion.objects.bulk_create(
            [
                Completion(project_id=run.project_id, prompt_id=prompt, run=run, index=index, text=f"{run.pk} {index}")
                for prompt in prompt_ids
                for index in range(run.n)
            ],
            ignore_conflicts=True,
        )
        return run

    def measured(round_, output, recipe):
        """What the real handler leaves but for what needs weights."""
        loop = round_.loop
        ids = [row.pk for row in evaluation_prompts(loop, recipe)]
        before = round_.policy if round_.index else None
        return evaluation_plan(
            loop=loop,
            index=round_.index,
            recipe=recipe,
            evaluator=evaluator_of(loop.project, recipe, judge=loop.judge, loop=loop),
            ours=drawn(output, ids, recipe),
            others={
                "initial": drawn(loop.initial, ids, recipe),
                "previous": drawn(before, ids, recipe) if before else None,
            },
            pairs=[(at, (at + 1) % recipe.evaluation.n) for at in range(recipe.evaluation.n)],
            truth=None,
        )

    def evaluation(ctx):
        round_ = Round.objects.get(pk=ctx.payload["round"])
        run = TrainingRun.objects.filter(round=round_).select_related("snapshot").last()
        recipe = recipe_of(round_.loop, round_.index)
        if "evaluation" not in recipe.hidden():
            round_.evaluation = measured(round_, round_.output, recipe) | ({} if state.asks else {"judge": None})
        round_.result = {
            "n_samples": round_.sampling_run.completions.count() if round_.sampling_run else 0,
            "n_pairs": run.snapshot.n_pairs if run and run.snapshot else 0,
            "n_overrides": run.snapshot.n_overrides if run and run.snapshot else 0,
            "loss": 0.35,
            "gold_mean": 2.0 + round_.index,
            "win_rate_vs_initial": 0.5 + 0.1 * round_.index,
            "win_rate_ci95": [0.45 + 0.1 * round_.index, 0.55 + 0.1 * round_.index],
            "kl": 0.2 * round_.index,
            "mean_length": 100.0,
        }
        round_.save(update_fields=["result", "evaluation"])

    def kept(ctx):
        found = KeptStep.objects.select_related("run__round__loop").get(pk=ctx.payload["kept"])
        recipe = recipe_of(found.run.round.loop, found.run.round.index)
        if state.asks:
            found.evaluation = measured(found.run.round, found.checkpoint, recipe)
        found.result = {"gold_mean": 2.2, "win_rate_vs_initial": 0.52, "kl": 0.05, "mean_length": 90.0}
        found.save(update_fields=["result", "evaluation"])

    def judging(ctx):
        """A judge that finds the later answer better on every prompt but the last, where both are alike to it."""
        run = JudgingRun.objects.select_related("judge").get(pk=ctx.payload["run"])
        ids = run.comparison_ids[ctx.payload["start"] : ctx.payload["stop"]]
        rows = list(Comparison.objects.filter(pk__in=ids).order_by("prompt_id", "id"))
        with reviews_counted([row.pk for row in rows]):
            Verdict.objects.bulk_create(
                [
                    Verdict(
                        judge=run.judge,
                        comparison=row,
                        run=run,
                        order=order,
                        state="ok",
                        outcome="tie" if row.prompt_id == rows[-1].prompt_id else "second",
                    )
                    for row in rows
                    for order in ("01", "10")
                ],
                ignore_conflicts=True,
            )

    def counterfactual(ctx):
        found = Counterfactual.objects.select_related("run__snapshot", "run__output").get(
            pk=ctx.payload["counterfactual"]
        )
        recipe = recipe_of(found.round.loop, found.round.index)
        if state.asks:
            found.evaluation = measured(found.round, found.run.output, recipe)
        found.result = {"gold_mean": 1.5, "gold_ci95": [1.4, 1.6], "n_pairs": found.run.snapshot.n_pairs}
        found.save(update_fields=["result", "evaluation"])

    def watched(kind, run):
        def call(ctx):
            state.calls.append(kind)
            if kind in state.fail:
                raise state.fail.pop(kind)
            return run(ctx)

        return call

    known = {
        "sampling.chunk": ("gpu", sampling),
        "sampling.endpoint": ("cpu", sampling),
        "scoring.chunk": ("gpu", scoring),
        "training.run": ("gpu", training),
        "evaluation.run": ("gpu", evaluation),
        "judging.chunk": ("cpu", judging),
        "evaluation.kept": ("gpu", kept),
        "evaluation.counterfactual": ("gpu", counterfactual),
    }
    handlers = {kind: registry.Handler(kind, queue, watched(kind, run)) for kind, (queue, run) in known.items()}
    handlers["rounds.advance"] = registry.Handler("rounds.advance", "cpu", tasks.rounds_advance)
    handlers["counterfactual.advance"] = registry.Handler("counterfactual.advance", "cpu", tasks.counterfactual_step)
    for kind, run in (("labels.review", review), ("rankings.seats", settle)):  # what a migration leaves to do
        handlers[kind] = registry.Handler(kind, "cpu", run)
    monkeypatch.setattr("apps.jobs.drain.load_handlers", lambda queues: None)
    monkeypatch.setattr("apps.jobs.drain.handler_for", handlers.get)
    state.handlers = handlers
    return state


@pytest.fixture
def drive(fakes):
    """drive(): work until nothing is left to do."""

    def work():
        return drain(["gpu", "cpu"], worker_name="test")

    return work


@pytest.fixture
def start(loop_project, erin):
    """start("iterative-dpo", n_rounds=2, **{"review.mode": "all"}): a small loop of `loop_project`."""
    from apps.training.loops.starting import loop_start

    def make(recipe="iterative-dpo", *, n_rounds=2, **settings):
        return loop_start(
            project=loop_project, recipe=recipe, settings=SMALL | settings, n_rounds=n_rounds, started_by=erin
        )

    return make
