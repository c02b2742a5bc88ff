"""The prompts that ask a policy to score an answer. Torch-free."""

from __future__ import annotations

from apps.projects.models import Project
from prefloop.judging.render import Template, load_template, new_delimiter, render_score
from prefloop.types import PromptContent
from workers.worlds import ScorePrompt, score_prompt_of

ANY_CRITERION = "The answer does what the request asks, and does it well."


def score_prompt(project: Project, *, criterion: str = "") -> ScorePrompt:
    """Return the world's own additive-score prompt, else the built-in template with the project's criterion."""
    of_world = score_prompt_of(project.world)
    if of_world is not None:
        return of_world
    criterion = criterion.strip() or project.criterion.strip() or ANY_CRITERION
    return template_prompt(load_template("additive"), criterion)


def template_prompt(template: Template, criterion: str) -> ScorePrompt:
    """Return the prompt for a score by a template."""

    def rendered(prompt: str, answer: str) -> PromptContent:
        # one code for one text: what is learned from and what is asked later are then the same prompt
        code = new_delimiter(prompt, answer, criterion, seed=0)
        return tuple(render_score(template, prompt=prompt, answer=answer, criterion=criterion, delimiter=code))

    return rendered
