"""Making judges and their next versions, and editing their endpoints. Keys can be entered but never read."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods

from apps.accounts.views import person, posted
from apps.judging.access import judge_for_write
from apps.judging.asking_forms import EndpointForm, SpendingForm
from apps.judging.forms import JudgeForm, LlmJudgeForm, is_built_in
from apps.judging.kind_forms import FORMS, offered
from apps.judging.services import built_in_template
from apps.judging.views.trials import preview_of, trial_of
from apps.policies.access import endpoint_for_write
from apps.policies.endpoints import (
    endpoint_key,
    endpoint_probe,
    endpoint_probed,
    endpoint_set_spending,
    endpoint_test,
    endpoint_test_stored,
    endpoint_update,
)
from apps.policies.spending import spent_on
from apps.projects.access import project_for
from apps.projects.models import Project, Role
from prefloop.judging.kinds import KINDS
from prefloop.types import PrefloopError


@sensitive_post_parameters("api_key")
@sensitive_variables()
@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def new(request: HttpRequest, slug: str) -> HttpResponse:
    project = project_for(person(request), slug, Role.ENGINEER)
    kind = request.GET.get("kind", "")
    if kind not in FORMS or FORMS[kind].kind not in offered(project):
        context = {"project": project, "active": "judges", "kinds": offered(project)}
        return render(request, "judging/choose.html", context, status=404 if kind else 200)
    initial = {"checkpoint": request.GET.get("checkpoint"), **FORMS[kind].initial_for(project)}
    form = FORMS[kind](posted(request), project=project, initial=initial)
    return _edit(request, project, kind, form)


@sensitive_post_parameters("api_key")
@sensitive_variables()
@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def edit(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """The next version: a judge's settings never change, and its verdicts stay with the version that gave them."""
    judge = judge_for_write(person(request), slug, pk)
    if judge.kind not in FORMS:
        raise Http404("imported verdicts have no settings, and a judging policy has those of its loop")
    initial = FORMS[judge.kind].initial_of(judge)
    form = FORMS[judge.kind](posted(request), project=judge.project, judge=judge, initial=initial)
    return _edit(request, judge.project, judge.kind, form)


def _edit(request: HttpRequest, project: Project, kind: str, form: JudgeForm) -> HttpResponse:
    tested: dict[str, Any] | None = None
    action = request.POST.get("action", "") if request.method == "POST" else ""
    tried: dict[str, Any] = {}
    if action == "template" and isinstance(form, LlmJudgeForm):
        return _template_field(request, form)
    if action == "trial" or (action == "preview" and isinstance(form, LlmJudgeForm)):
        tried = (preview_of if action == "preview" else trial_of)(person(request), project, form)  # type: ignore[arg-type]
        if request.headers.get("HX-Request"):
            return render(request, "judging/_tried.html", {"project": project, **tried})
    elif action == "test" and isinstance(form, LlmJudgeForm):
        tested = _test(form)
        if request.headers.get("HX-Request"):
            return render(request, "judging/_tested.html", {"tested": tested})
    elif request.method == "POST" and form.is_valid():
        try:
            with transaction.atomic():
                form.by = person(request)
                made = form.save()
        except PrefloopError as error:
            form.add_error("base_url" if _is_about_the_address(form, error) else None, str(error))
        else:
            messages.success(
                request,
                _("%(name)s, version %(version)d, has been created.") % {"name": made.name, "version": made.version},
            )
            return redirect("judging:judge", slug=project.slug, pk=made.pk)
    context = {
        "project": project,
        "active": "judges",
        "kind": KINDS[kind],
        "form": form,
        "judge": form.judge,
        "tested": tested,
        "tried": tried,
        **tried,
        "lacks": form.lack(),
    }
    refused = bool(form.is_bound and tested is None and not tried and form.errors)
    return render(request, "judging/edit.html", context, status=400 if refused else 200)


def _template_field(request: HttpRequest, form: LlmJudgeForm) -> HttpResponse:
    """The template field after another way of answering was chosen: a built-in template is replaced by the matching
    one.
    """
    data = request.POST.copy()
    mode = data.get("mode", "text")
    if is_built_in(data.get("template", "")) and mode in dict(form.fields["mode"].choices):  # type: ignore[attr-defined]
        data["template"] = built_in_template(mode)
    form.data = data
    form.is_bound, form._errors = False, None  # type: ignore[attr-defined]
    form.initial = {**form.initial, "template": data["template"]}
    return render(request, "judging/_template_field.html", {"form": form})


def _is_about_the_address(form: JudgeForm, error: PrefloopError) -> bool:
    return "base_url" in form.fields and type(error).__name__ in {"EndpointForbidden", "JudgeUnreachable"}


@sensitive_variables()
def _test(form: LlmJudgeForm) -> dict[str, Any]:
    """Ask the form's endpoint which models it serves; nothing is saved."""
    form.is_valid()
    data = form.cleaned_data
    endpoint = data.get("endpoint")
    try:
        if endpoint is not None:
            said = endpoint_test(base_url=endpoint.base_url, model=endpoint.model, api_key=endpoint_key(endpoint))
        else:
            url, model = str(data.get("base_url") or ""), str(data.get("model") or "")
            said = endpoint_test(base_url=url, model=model, api_key=str(data.get("api_key") or ""))
    except PrefloopError as error:
        return {"ok": False, "text": str(error)}
    return {"ok": True, "text": said}


@sensitive_post_parameters("api_key")
@sensitive_variables()
@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def endpoint(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    found = endpoint_for_write(person(request), slug, pk)
    if found.is_simulated:
        raise Http404("the worker starts simulated judges itself")
    action = request.POST.get("action", "")
    form = EndpointForm(posted(request) if action in ("", "test") else None, initial={"base_url": found.base_url})
    spending = SpendingForm(
        posted(request) if action == "spending" else None,
        initial={name: getattr(found, name) for name in SpendingForm.base_fields},
    )
    tested: dict[str, Any] | None = None
    if request.method == "POST" and action == "probe":
        try:
            endpoint_probe(endpoint=found, now=timezone.now(), by=person(request))
        except PrefloopError as error:
            messages.error(request, str(error))
        return redirect("judging:endpoint", slug=slug, pk=pk)
    if request.method == "POST" and action == "spending" and spending.is_valid():
        data = spending.cleaned_data
        endpoint_set_spending(
            endpoint=found,
            input_price=data["input_price"] or Decimal(0),
            output_price=data["output_price"] or Decimal(0),
            cap_tokens=data["cap_tokens"],
            cap_cost=data["cap_cost"],
            at_once=data["at_once"],
            by=person(request),
        )
        messages.success(request, _("Saved."))
        return redirect("judging:endpoint", slug=slug, pk=pk)
    if request.method == "POST" and action in ("", "test") and form.is_valid():
        url, key = form.cleaned_data["base_url"], form.cleaned_data["api_key"]
        try:
            if action == "test":
                said = endpoint_test_stored(endpoint=found, base_url=url, model=found.model, api_key=key)
                tested = {"ok": True, "text": said}
            else:
                had_key = bool(found.encrypted_key)
                by = person(request)
                endpoint_update(endpoint=found, base_url=url, model=found.model, api_key=key or None, by=by)
                if had_key and not found.encrypted_key:
                    messages.warning(request, _("The URL changed, so the stored key was deleted. Enter it again."))
                messages.success(request, _("Saved."))
                return redirect("judging:endpoint", slug=slug, pk=pk)
        except PrefloopError as error:
            if action == "test":
                tested = {"ok": False, "text": str(error)}
            else:
                form.add_error("base_url", str(error))
    if tested is not None and request.headers.get("HX-Request"):
        return render(request, "judging/_tested.html", {"tested": tested})
    context = {
        "project": found.project,
        "active": "judges",
        "endpoint": found,
        "has_key": bool(found.encrypted_key),
        "judges": found.judges.order_by("name", "-version")[:50],
        "form": form,
        "spending": spending,
        "spent": spent_on(found),
        "ledger": found.spends.order_by("-id")[:10],
        "probed": endpoint_probed(found)[0],
        "tested": tested,
    }
    refused = form.errors or spending.errors
    return render(request, "judging/endpoint.html", context, status=400 if refused else 200)
