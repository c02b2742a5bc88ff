"""What the command palette finds in a project: recipes, loops, prompts."""

from __future__ import annotations

from django.utils.text import Truncator
from django.utils.translation import gettext as _

from apps.projects.models import Project
from apps.prompts.selectors import prompt_list
from apps.training.models import Loop
from prefloop.recipes.catalogue import list_recipes

FOUND = 12  # of a kind
MOST_LOOPS = 500  # looked at


def palette_find(project: Project, text: str, *, limit: int = FOUND) -> list[dict[str, str]]:
    """Return entries for the palette; none if nothing was typed."""
    words = text.strip().lower().split()
    if not words:
        return []
    base = f"/p/{project.slug}"
    recipes = [
        {"label": f"{recipe.name}: {_(recipe.title)}", "url": f"{base}/loops/new/{recipe.name}/", "icon": "plus"}
        for recipe in list_recipes()
    ]
    loops = [
        {
            "label": _("Loop %(n)d: %(recipe)s, %(state)s")
            % {"n": loop.pk, "recipe": loop.recipe, "state": loop.get_state_display().lower()},
            "url": f"{base}/loops/{loop.pk}/",
            "icon": "loops",
        }
        for loop in Loop.objects.filter(project=project).order_by("-id")[:MOST_LOOPS]
    ]
    prompts = [
        {
            "label": Truncator(" ".join(prompt.text.split())).chars(90),
            "url": f"{base}/prompts/{prompt.pk}/",
            "icon": "prompts",
        }
        for prompt in prompt_list(project, search=text.strip())[:limit]
    ]
    found = []
    for group, entries in ((_("New loop"), _holding(recipes, words)), (_("Loops"), _holding(loops, words)),
                           (_("Prompts"), prompts)):  # fmt: skip
        found += [entry | {"group": group} for entry in entries[:limit]]
    return found


def _holding(entries: list[dict[str, str]], words: list[str]) -> list[dict[str, str]]:
    return [entry for entry in entries if all(word in entry["label"].lower() for word in words)]
