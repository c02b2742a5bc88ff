"""The page on which a person edits an answer: one that they chose in Annotate, or one of a pair in Review."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from apps.rankings import access, services
from apps.samples.models import Comparison, Completion
from prefloop.criteria import LONGEST_NAME
from prefloop.types import PrefloopError


class EditForm(forms.Form):
    text = forms.CharField(
        label=gettext_lazy("The edited answer"),
        max_length=services.LONGEST_EDIT,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 14, "dir": "auto"}),
    )
    is_better = forms.BooleanField(
        label=gettext_lazy("The edited answer is better than the original"),
        required=False,
        help_text=gettext_lazy(
            "Adds a comparison of both, marked as an edit, from which loops and exports learn. Without it only the new "
            "answer is kept."
        ),
    )


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def edit(request: HttpRequest, slug: str, comparison_id: int, side: str) -> HttpResponse:
    """Edit an answer: left or right of a pair that one has voted on, or first or second of one in Review."""
    person = access.person(request.user)
    criterion = request.GET.get("criterion", "")[:LONGEST_NAME]
    chosen = access.answer_for_edit(person, slug, comparison_id, side, criterion)
    if side in services.SIDES:
        back = "rankings:annotate-item"
    else:
        is_lead = access.may_see_people(person, chosen.comparison.project)
        back = "rankings:comparison" if is_lead else "rankings:review-item"
    return _page(request, chosen, back=back, mark="A" if side in ("left", "first") else "B")


def _page(request: HttpRequest, chosen: access.ToEdit, *, back: str, mark: str) -> HttpResponse:
    comparison, answer = chosen.comparison, chosen.answer
    form = EditForm(request.POST or None, initial={"text": answer.text, "is_better": True})
    if request.method == "POST" and form.is_valid():
        try:
            _save(request, comparison, answer, chosen.criterion, form.cleaned_data)
        except PrefloopError as error:
            form.add_error("text", _(str(error)))
        else:
            return redirect(back, comparison.project.slug, comparison.pk)
    context = {
        "project": comparison.project,
        "active": "annotate" if back == "rankings:annotate-item" else "review",
        "comparison": comparison,
        "answer": answer,
        "mark": mark,
        "form": form,
        "back": back,
        "criterion": chosen.criterion,
    }
    return render(request, "rankings/edit.html", context, status=400 if form.errors else 200)


def _save(
    request: HttpRequest, comparison: Comparison, answer: Completion, criterion: str, said: dict[str, Any]
) -> None:
    made = services.answer_edit(
        comparison=comparison,
        answer=answer,
        text=_line_ends(said["text"], answer.text),
        is_better=said["is_better"],
        criterion=criterion,
        editor=access.person(request.user),
        now=timezone.now(),
    )
    messages.success(request, _("Saved as a new answer.") if made.created else _("This text was saved before."))


def _line_ends(text: str, before: str) -> str:
    """A browser sends every line end as CR LF; the text keeps those that the answer had."""
    return text if "\r\n" in before else text.replace("\r\n", "\n")
