"""The demo project: a tiny world in which everything real happens. Torch-free; the jobs are in the handlers' packages.

prompts → policy (trained here) → answers → the world's verdicts → a simulated language-model judge's → labels.
"""

from __future__ import annotations

from django.db import transaction

from apps.accounts.models import User
from apps.jobs.models import Job
from apps.jobs.services import job_enqueue
from apps.projects.models import Guideline, Membership, Project, Role
from prefloop.worlds.letters.world import WORLD_JUDGE

SLUG = "letters"
POLICY = "letters-sft"
TRAIN_SET, EVAL_SET = "letters-train", "letters-eval"
SIMULATED_JUDGE = "simulated-judge"
CRITERION = "kind and correct"
N_TRAIN_PROMPTS = 1024  # all of the world's: two pairs each make the labels a reward model needs
N_EVAL_PROMPTS = 96
N_ANSWERS = 4
N_SIMULATED = 160  # training comparisons that the simulated judge sees too
WORLD_NOISE = 0.5
# known, so that the reports can be seen to find them: in units of utility, and utility per 100 characters
BIASES = {"position_bias": 0.5, "length_bias": 0.6, "noise": 0.8, "tie_margin": 0.15}
SEED_KIND = "letters.seed"
FINISH_KIND = "letters.seed.finish"

GUIDELINES = """Which letter would you rather receive?

1. It must be **for the right person and about the right thing**. A letter that thanks Maria for the flowers when it
   was Peter's lamp is worse than a clumsy one that gets it right.
2. Then **kindness**: warm words, a greeting, a closing. Rudeness loses.
3. Then **brevity**: saying the same thing twice, or running on, loses.

Equal is a good answer, and so is *both bad*.
"""


def demo_project(*, owner: User | None) -> Project:
    """Return the demo project, created if it does not exist; `owner` becomes its owner."""
    with transaction.atomic():
        project, created = Project.objects.get_or_create(
            slug=SLUG,
            defaults={
                "name": "Thank-you letters (demo)",
                "description": "A tiny world with a known truth: short letters, a policy of under a million "
                "parameters trained on this machine, and judges whose biases are known.",
                "criterion": "Kind and correct: the right person, the right thing, warm, not too long.",
                "world": "letters",
                "label_judge": WORLD_JUDGE,
            },
        )
        if created:
            Guideline.objects.create(project=project, version=1, text=GUIDELINES)
        if owner is not None:
            Membership.objects.get_or_create(project=project, user=owner, defaults={"role": Role.OWNER})
    return project


def demo_seed(*, owner: User | None, seed: int = 0) -> Job:
    """Create the demo project and enqueue the first job of its set-up; once."""
    with transaction.atomic():
        project = demo_project(owner=owner)
        return job_enqueue(
            kind=SEED_KIND,
            queue="gpu",
            payload={"project": project.pk, "seed": seed},
            project=project,
            title="Demo: train a policy of letters",
            unique_key=f"letters.seed:{project.pk}",
            started_by=owner,
        )


def demo_is_seeded() -> bool:
    return Job.objects.filter(project__slug=SLUG, kind=FINISH_KIND, state="succeeded").exists()
