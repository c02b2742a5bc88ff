"""Texts for people that are not marked as translatable where they stand, because tables hold them.

Most are of `prefloop`, which is a library without Django: recipes, their settings, kinds of judges, ways of answering.
Pages translate them when they show them, and `manage.py makemessages` puts them into the catalogs from here.
"""

from __future__ import annotations

from apps.core.terms import TERMS
from prefloop.config import describe
from prefloop.criteria import PRESETS
from prefloop.judging.kinds import KINDS
from prefloop.judging.modes import MODES
from prefloop.reasons import PRESETS as REASONS
from prefloop.recipes.catalogue import CATALOGUE
from prefloop.recipes.recipe import RECIPE_GROUPS
from prefloop.records import FLAG_REASONS
from prefloop.studies.catalogue import STUDIES
from prefloop.studies.claims import WORDS as MEASURES
from prefloop.tasks import TASKS


def declared_texts() -> list[str]:
    """Return every such text once, sorted."""
    found: set[str] = {*RECIPE_GROUPS, *TERMS.values(), *MEASURES.values()}
    for recipe in CATALOGUE.values():
        found |= {recipe.title, recipe.idea, *recipe.departures}
        for info in describe(recipe):
            found |= {info.help, info.label}
    for kind in KINDS.values():
        found |= {kind.label, kind.about}
    found |= {mode.about for mode in MODES.values()}
    found |= set(FLAG_REASONS.values())
    for task in TASKS.values():
        found |= {task.word, task.about}
    found |= {one.question for preset in PRESETS.values() for one in preset}
    for name, reasons in REASONS.items():
        found |= {name, *reasons}
    for study in STUDIES.values():
        found |= {study.title, study.question, study.finding, *(arm.title for arm in study.arms)}
    return sorted(found - {""})
