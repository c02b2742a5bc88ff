from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.reports.models import MAX_SEEDS
from prefloop.studies.declaration import Study


class StudyForm(forms.Form):
    """How often a study's runs are repeated, and for how long new ones may start."""

    seeds = forms.IntegerField(
        label=_("Seeds"),
        min_value=1,
        max_value=MAX_SEEDS,
        help_text=_("Every run is repeated with each seed. With one, nothing can be decided."),
    )
    budget = forms.FloatField(
        label=_("Budget, minutes"),
        required=False,
        min_value=0.1,
        help_text=_("After that no further run starts; empty sets no limit."),
    )

    def __init__(self, declared: Study, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["seeds"].initial = declared.seeds
