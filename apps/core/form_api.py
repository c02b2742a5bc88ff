"""Forms of the pages, filled in by programs: what a form asks, and what it refuses, is said once, in the form."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar, cast

from django import forms
from django.utils import translation
from rest_framework import serializers

from apps.core.api import BodySerializer
from prefloop.types import PrefloopError

Body = type[serializers.Serializer[Any]]
_Form = TypeVar("_Form", bound=forms.Form)


class FormRefused(PrefloopError):
    """A form that was filled in wrongly: one line with the name of each field and what is wrong with it."""

    def __init__(self, form: forms.Form) -> None:
        told = [
            " ".join(map(str, errors)) if name == "__all__" else f"{name}: {' '.join(map(str, errors))}"
            for name, errors in form.errors.items()
        ]
        super().__init__("; ".join(told))


def body_of(
    form: type[forms.Form],
    *,
    name: str = "",
    needs: Collection[str] | None = None,
    leave_out: Collection[str] = (),
    **more: Any,
) -> Body:
    """Describe a form as a body of the API, with `more` fields: of which kind of JSON each field is.

    What a field must hold beyond that, and whether it may be left out, is checked by the form when `filled` fills it
    in; `needs` only describes what can't be left out (None: what the form requires and gives no value for).
    """
    asked: dict[str, forms.Field] = form.base_fields
    if needs is None:
        needs = [key for key, field in asked.items() if field.required and field.initial is None]
    fields = {key: _field(field, key in needs) for key, field in asked.items() if key not in leave_out}
    return type(name or f"{form.__name__.removesuffix('Form')}Input", (BodySerializer,), {**more, **fields})


def sent(body: serializers.Serializer[Any]) -> dict[str, Any]:
    """Return what a program sent in this body; what is missing is the form's to refuse. Raises ValidationError."""
    body.partial = True
    body.is_valid(raise_exception=True)
    return cast(dict[str, Any], body.validated_data)


def filled(form: _Form, given: Mapping[str, Any]) -> _Form:
    """Fill in a form; a field that is not given keeps its initial value, as on the page. Raises FormRefused."""
    form.data = {
        name: field.prepare_value(form.get_initial_for_field(field, name)) for name, field in form.fields.items()
    } | {**given}
    form.is_bound = True
    if form.errors:
        raise FormRefused(form)
    return form


def _field(field: forms.Field, required: bool) -> serializers.Field[Any, Any, Any, Any]:
    with translation.override("en"):  # the description of the API does not follow whoever asks first
        said: dict[str, Any] = {"help_text": str(field.help_text or field.label or ""), "required": required}
        choices = [(value, str(word)) for value, word in getattr(field, "choices", ()) if isinstance(value, str)]
    nothing: dict[str, Any] = {"allow_null": not field.required}
    if isinstance(field, forms.BooleanField):
        return serializers.BooleanField(**said)
    if isinstance(field, forms.ModelMultipleChoiceField):
        return serializers.ListField(child=_key(field), **said)
    if isinstance(field, forms.ModelChoiceField):
        return _key(field, **said, **nothing)
    if isinstance(field, forms.MultipleChoiceField):
        return serializers.ListField(child=serializers.CharField(), **said)
    if isinstance(field, forms.DecimalField):
        digits: dict[str, Any] = {"max_digits": field.max_digits, "decimal_places": field.decimal_places}
        return serializers.DecimalField(**digits, **said, **nothing)
    if isinstance(field, forms.FloatField):
        return serializers.FloatField(**said, **nothing)
    if isinstance(field, forms.IntegerField):
        return serializers.IntegerField(**said, **nothing)
    if isinstance(field, forms.DateField):
        return serializers.DateField(**said, **nothing)
    if isinstance(field, forms.ChoiceField) and choices:
        return serializers.ChoiceField(choices=choices, allow_blank=not field.required, **said)
    return serializers.CharField(allow_blank=True, trim_whitespace=False, **said)


def _key(field: forms.ModelChoiceField[Any], **said: Any) -> serializers.Field[Any, Any, Any, Any]:
    """How a form names a row: by its number, unless the field says by which of its columns."""
    if field.to_field_name:
        return serializers.CharField(allow_blank=True, **said)
    return serializers.IntegerField(**said)
