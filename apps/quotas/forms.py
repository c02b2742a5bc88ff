"""Limits that an administrator sets: a field for each quota; empty: as by default."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.utils.functional import lazystr
from django.utils.translation import gettext as _

from apps.quotas.kinds import KINDS, Kind


def _help(kind: Kind, defaults: str) -> Any:
    def said() -> str:
        default: Mapping[str, Decimal] = getattr(settings, defaults)
        amount = default.get(kind.name)
        if amount is None:
            return _("%(about)s Empty: no limit.") % {"about": kind.about}
        limit = kind.shown(kind.parts(amount))
        return _("%(about)s Empty: %(limit)s, as by default.") % {"about": kind.about, "limit": limit}

    return lazystr(_Later(said))


class _Later:
    """Text that is put together when it is shown: in the language of then, and by the defaults of then."""

    def __init__(self, said: Any) -> None:
        self._said = said

    def __str__(self) -> str:
        return str(self._said())


def _field(kind: Kind, defaults: str) -> forms.DecimalField:
    label: Any = kind.label
    if kind.unit:
        label = lazystr(_Later(lambda: f"{kind.label} ({kind.unit})"))
    return forms.DecimalField(
        label=label,
        help_text=_help(kind, defaults),
        required=False,
        min_value=0,
        max_digits=18,
        decimal_places=4 if kind.scale > 1 else 0,
        widget=forms.NumberInput(attrs={"step": "any" if kind.scale > 1 else "1", "inputmode": "decimal"}),
    )


ProjectQuotasForm: type[forms.Form] = type(
    "ProjectQuotasForm",
    (forms.Form,),
    {name: _field(kind, "PROJECT_QUOTAS") for name, kind in KINDS.items()},
)
PersonQuotasForm: type[forms.Form] = type(
    "PersonQuotasForm",
    (forms.Form,),
    {name: _field(kind, "PERSON_QUOTAS") for name, kind in KINDS.items() if kind.of_people},
)
