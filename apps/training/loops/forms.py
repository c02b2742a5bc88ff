"""The form of a loop, made from the recipe's settings: one field per key, with its limits and help."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django import forms
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from typing_extensions import override

from apps.labels.models import Judge
from apps.policies.selectors import checkpoint_default, checkpoint_list, endpoint_list
from apps.projects.models import Project
from apps.projects.selectors import criteria_of
from apps.prompts.models import PromptSet
from apps.training.changes import bare_key, changeable, chosen_of, recipe_of, with_stored
from apps.training.models import MAX_ROUNDS, MAX_SEED, Loop, Round
from apps.training.rounds.evaluators import can_measure
from apps.training.rounds.loop_judge import REWARD_MODEL_JUDGE
from prefloop.config import ConfigError, KeyInfo, Value, apply_settings, describe
from prefloop.judging.kinds import SCORES, STEP_LABELS, STEP_SCORES, STORED_LABELS
from prefloop.recipes.engines import ENDPOINT_PREFIX
from prefloop.recipes.evaluation import NOBODY, TRUTH
from prefloop.recipes.parts import BY_PEOPLE, BY_RATINGS
from prefloop.recipes.recipe import AI_REWARD_MODEL, Recipe

# part -> its title, its icon, what it decides
PARTS: dict[str, tuple[Promise | str, str, Promise | str]] = {
    "prompts": (_("Prompts"), "prompts", _("What is asked.")),
    "draws": (_("Draws"), "samples", _("Which model answers, how often, and how sampling works.")),
    "score": (_("Score"), "flask", _("How each answer gets a score.")),
    "teach": (
        _("Teaching"),
        "book",
        _("What the starting policy learns before the first round, so that it can judge."),
    ),
    "filter": (_("Filter"), "filter", _("Which answers stay.")),
    "pairing": (_("Pairing"), "columns", _("Which answers are compared.")),
    "label": (_("Label"), "judges", _("Who decides which answer is better.")),
    "review": (_("Review"), "people", _("Which labels people review before training.")),
    "memory": (_("Memory"), "history", _("Which past examples are trained on again.")),
    "objective": (_("Objective"), "bolt", _("The loss that training minimises, and how.")),
    "anchor": (_("Anchor"), "link", _("A reference policy that moves.")),
    "adapter": (
        _("Adapter"),
        "machine",
        _("Whether all weights are trained, or a small adapter while the weights are frozen."),
    ),
    "evaluation": (
        _("Evaluation"),
        "graph",
        _("Who decides whether the new policy is better, and on how many prompts."),
    ),
}
PART_OF = {"refresh": "draws"}  # keys shown with another part
# What most people set; the rest is folded away. A loss says of its own numbers how they are labelled and folded.
BASIC = {
    "prompts.n",
    "prompts.sets",
    "draws.n",
    "draws.temperature",
    "draws.engine",
    "score.judge",
    "score.samples",
    "teach.eft",
    "filter.kind",
    "filter.beta",
    "filter.keep",
    "filter.thresholds",
    "pairing.kind",
    "label.judge",
    "label.labels",
    "review.mode",
    "review.budget",
    "memory.kind",
    "objective.lr",
    "objective.epochs",
    "objective.batch",
    "anchor.rate",
    "anchor.every",
    "adapter.kind",
    "evaluation.judge",
    "evaluation.prompts",
    "evaluation.people",
}
LABELS = {
    "prompts.n": _("Prompts a round"),
    "prompts.sets": _("Prompt sets"),
    "prompts.where": _("Filter by metadata"),
    "prompts.generator": _("New prompts by"),
    "prompts.writer": _("Who writes them"),
    "prompts.temperature": _("Temperature of the writing"),
    "prompts.top_p": _("Top-p of the writing"),
    "prompts.most_alike": _("Too alike from"),
    "draws.source": _("Who answers"),
    "draws.n": _("Answers a prompt"),
    "draws.temperature": _("Temperature"),
    "draws.top_p": _("Top-p"),
    "draws.top_k": _("Top-k"),
    "draws.max_tokens": _("Longest answer, tokens"),
    "draws.engine": _("Drawn by"),
    "refresh": _("New answers"),
    "score.judge": _("Whose score"),
    "score.samples": _("Scores an answer"),
    "teach.eft": _("Judge demonstrations"),
    "teach.ift": _("Chosen answers"),
    "teach.writing": _("Prompts to write"),
    "teach.lr": _("Learning rate"),
    "teach.epochs": _("Epochs"),
    "teach.batch": _("Batch"),
    "filter.kind": _("Answers kept"),
    "filter.cut_answers": _("Cut answers"),
    "filter.beta": _("Temperature of acceptance"),
    "filter.keep": _("Answers kept per prompt"),
    "filter.thresholds": _("Rising quantiles"),
    "pairing.kind": _("Pairs"),
    "label.judge": _("Whose labels"),
    "label.criterion": _("By which criterion"),
    "label.labels": _("Kind of label"),
    "label.noise": _("Labels turned round"),
    "review.mode": _("Sent to people"),
    "review.budget": _("At most per round"),
    "adapter.kind": _("What trains"),
    "adapter.rank": _("Rank"),
    "adapter.alpha": _("α, its scale"),
    "adapter.dropout": _("Dropout"),
    "adapter.targets": _("Layers with an adapter"),
    "adapter.merge": _("Merge it into the result"),
    "memory.kind": _("Trained on again"),
    "memory.k": _("Past rounds"),
    "memory.weight": _("Weight of the past"),
    "memory.run": _("Whose data"),
    "memory.order": _("Order of the replay"),
    "objective.lr": _("Learning rate"),
    "objective.epochs": _("Epochs"),
    "objective.batch": _("Batch"),
    "objective.warmup": _("Warm-up steps"),
    "objective.schedule": _("Schedule"),
    "objective.clip": _("Gradient clip"),
    "objective.weight_decay": _("Weight decay"),
    "objective.start_from": _("A round starts from"),
    "evaluation.judge": _("Measured by"),
    "evaluation.prompts": _("Held-out prompts"),
    "evaluation.n": _("Answers per held-out prompt"),
    "evaluation.people": _("Pairs given to people"),
    "evaluation.every": _("Steps between measurements on the way"),
    "anchor.rate": _("EMA rate"),
    "anchor.every": _("Steps between copies"),
}


@dataclass(frozen=True, slots=True)
class Panel:
    """One part of the recipe as a panel of the form. `changed`: how many folded fields differ from the default."""

    key: str
    title: Promise | str
    icon: str
    about: Promise | str
    basic: list[forms.BoundField]
    advanced: list[forms.BoundField]
    open: bool


class SetsField(forms.MultipleChoiceField):
    """Prompt sets to tick, stored as names separated by commas; none ticked means all."""

    widget = forms.CheckboxSelectMultiple

    @override
    def prepare_value(self, value: Any) -> list[str]:
        parts = value if isinstance(value, list | tuple) else [value or ""]
        return [name for part in parts for one in str(part).split(",") if (name := one.strip())]

    @override
    def to_python(self, value: Any) -> list[str]:
        return self.prepare_value(value)

    @override
    def clean(self, value: Any) -> str:
        return ",".join(super().clean(value))


class LoopForm(forms.Form):
    """Rounds, seed, starting policy, and every key of the recipe. `chosen` is what differs from the defaults.

    `branch`: a round whose settings and checkpoint are the form's initial values, instead of the recipe's own.
    """

    def __init__(
        self, project: Project, recipe: Recipe, *args: Any, branch: Round | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.recipe = recipe
        self._project = project
        begin = recipe
        if branch is not None:
            begin = with_stored(recipe, chosen_of(branch.loop, branch.index))
        self._defaults = {info.key: info.default for info in describe(recipe)}
        self._keys = {info.key: info for info in describe(begin) if not (len(info.choices) == 1 and not info.prefixes)}
        self._policies = list(checkpoint_list(project).filter(role="policy").values_list("name", flat=True))
        default = checkpoint_default(project, "policy")
        offline = recipe.group == "offline"
        self.fields["rounds"] = forms.IntegerField(
            label=_("Rounds"),
            min_value=1,
            max_value=1 if offline else MAX_ROUNDS,
            initial=recipe.rounds,
            help_text=_("This method trains once, on existing data.") if offline else _("Number of rounds."),
            disabled=offline,
        )
        self.fields["start"] = forms.ChoiceField(
            label=_("Start from"),
            choices=[(name, name) for name in self._policies] or [("", _("no policy yet"))],
            initial=branch.output.name if branch and branch.output else default.name if default else None,
            required=False,
            help_text=_("The policy that round 1 starts from; it is also measured as round 0."),
        )
        self.fields["seed"] = forms.IntegerField(
            label=_("Seed"),
            min_value=0,
            max_value=MAX_SEED,
            initial=branch.loop.seed if branch else 0,
            help_text=_("The same seed on the same machine repeats the loop exactly."),
        )
        for info in self._keys.values():
            self.fields[info.key] = self._field(info)

    def _is_basic(self, key: str) -> bool:
        """Whether it is always visible: among a loss's own numbers (which have a label), those that it does not
        fold; and the criterion where the project has named ones.
        """
        info = self._keys[key]
        asks = key == "label.criterion" and bool(self._project.known_criteria)
        return asks or bare_key(key) in BASIC or bool(info.label and not info.folded)

    def _field(self, info: KeyInfo) -> forms.Field:
        bare = bare_key(info.key)
        label = LABELS.get(bare) or (gettext(info.label) if info.label else "")
        label = label or bare.rsplit(".", 1)[-1].replace("_", " ").capitalize()
        if bare != info.key:
            label = _("%(label)s (answer %(n)d)") % {"label": label, "n": int(info.key.split(".")[1]) + 1}
        help_text = gettext(info.help)
        if info.source:
            help_text += " " + gettext("Source: %(source)s.") % {"source": info.source}
        if info.key == "label.criterion" and (known := criteria_of(self._project)):
            help_text += " " + gettext("This project has: %(names)s.") % {"names": ", ".join(known)}
        common: dict[str, Any] = {"label": label, "help_text": help_text, "required": False, "initial": info.default}
        if info.key == "prompts.sets":
            names = PromptSet.objects.filter(project=self._project).order_by("id").values_list("name", flat=True)
            return SetsField(choices=[(name, name) for name in names], **common)
        choices = self._choices(info)
        if choices:
            return forms.ChoiceField(choices=choices, **common)
        if info.type in {"integer", "number"}:
            attributes = {"inputmode": "numeric" if info.type == "integer" else "decimal", "autocomplete": "off"}
            return forms.CharField(widget=forms.TextInput(attrs=attributes), max_length=40, **common)
        return forms.CharField(max_length=200, **common)

    def _choices(self, info: KeyInfo) -> list[tuple[str, str]]:
        if info.type == "flag":
            return [("True", gettext("yes")), ("False", gettext("no"))]
        judges = Judge.objects.filter(project=self._project, retired_at=None).order_by("name")
        if info.key == "score.judge":
            joint = STEP_SCORES if self.recipe.learns_in_steps else SCORES
            names = [judge.name for judge in judges if not judge.refusal(joint)]
            return [(name, name) for name in dict.fromkeys((REWARD_MODEL_JUDGE, AI_REWARD_MODEL, *names))]
        if info.key == "label.judge":
            usual = {
                "preferences": _("the effective label"),
                "judge": _("a language model of the project, else its reward model"),
            }[self.recipe.label.by]
            joint = STORED_LABELS if self.recipe.label.by == "preferences" else STEP_LABELS
            names = list(dict.fromkeys(judge.name for judge in judges if not judge.refusal(joint)))
            people = [(BY_PEOPLE, str(_("people only")))] if self.recipe.label.by == "preferences" else []
            if people and self.recipe.objective.takes_single_answers:
                people.append((BY_RATINGS, str(_("people's ratings of single answers"))))
            return [("", str(usual)), *people, *[(name, name) for name in names]]
        if info.key == "evaluation.judge":
            able = [judge.name for judge in judges if can_measure(judge)]
            truth = [(TRUTH, str(_("the world’s truth")))] if self._project.world else []
            first = ("", str(_("the truth, else a judge that did not label the training data")))
            nobody = (NOBODY, str(_("none: only KL and length")))
            return [first, *truth, *((name, name) for name in dict.fromkeys(able)), nobody]
        if not info.choices:
            return []
        found = [(name, name.replace("-", " ")) for name in info.choices]
        if "checkpoint:" in info.prefixes:
            found += [(f"checkpoint:{name}", name) for name in self._policies]
        if ENDPOINT_PREFIX in info.prefixes:
            served = endpoint_list(self._project).values_list("name", flat=True)
            found += [(f"{ENDPOINT_PREFIX}{name}", str(_("endpoint %(name)s") % {"name": name})) for name in served]
        return found

    def clean(self) -> dict[str, Any]:
        """Let the recipe itself check the settings, and put each error at its field."""
        cleaned = super().clean() or {}
        chosen = self._differing(cleaned)
        while True:
            try:
                self.made = apply_settings(self.recipe, chosen)
            except ConfigError as error:
                key = str(error).split(" ", 1)[0]
                gone = next((one for one in chosen if str(error).startswith(f"no setting {one!r}")), None)
                if gone is not None and gone not in self._defaults:
                    del chosen[gone]  # it came with a setting that was taken back
                    continue
                if key not in chosen:
                    self.add_error(key if key in self.fields else None, self._in_words(str(error)))
                    return cleaned
                self.add_error(key, self._in_words(str(error)))
                del chosen[key]
                continue
            self.chosen = chosen
            return cleaned

    def _in_words(self, error: str) -> str:
        """Name settings as the form does, rather than by their keys."""

        def named(key: re.Match[str]) -> str:
            return f"“{self.fields[key[0]].label}”" if key[0] in self.fields else key[0]

        return re.sub(r"[a-z]+\.[a-z_]+", named, error)

    def _differing(self, cleaned: dict[str, Any]) -> dict[str, Value]:
        chosen: dict[str, Value] = {}
        for key, info in self._keys.items():
            value = str(cleaned.get(key, "")).strip()
            if key not in cleaned or (value == "" and self._defaults.get(key, info.default) != ""):
                continue  # refused already, or left empty: the default
            if value != str(self._defaults.get(key, "")):
                chosen[key] = value
        return chosen

    def panels(self) -> Iterator[Panel]:
        """Return the parts that have settings, in the order of the data flow."""
        for part, (title, icon, about) in PARTS.items():
            bound = [self[key] for key, info in self._keys.items() if PART_OF.get(info.group, info.group) == part]
            if not bound:
                continue
            basic = [one for one in bound if self._is_basic(one.name)] or bound
            advanced = [one for one in bound if one not in basic]
            yield Panel(part, title, icon, about, basic, advanced, any(one.errors for one in advanced))


class ChangeForm(LoopForm):
    """What may change in a running loop: the rounds, and the settings that don't define the loop."""

    def __init__(self, loop: Loop, *args: Any, **kwargs: Any) -> None:
        recipe = recipe_of(loop)
        super().__init__(loop.project, recipe, *args, **kwargs)
        free = {info.key for info in changeable(recipe)}
        for key in [key for key in self._keys if key not in free]:
            del self._keys[key], self.fields[key]
        del self.fields["start"], self.fields["seed"]
        self.fields["rounds"].initial = loop.n_rounds
