"""Making judges and their next versions, and where their endpoints are. Keys go in and never come out."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods

from apps.accounts.views import person, posted
from apps.judging.access import judge_for_write
from apps.judging.forms import EndpointForm, JudgeForm, LlmJudgeForm, RewardJudgeForm, WorldJudgeForm, built_in_template
from apps.judging.models import Judge, JudgeKind
from apps.judging.services import judge_create, judge_template
from apps.policies.access import endpoint_for_write
from apps.policies.endpoints import (
    endpoint_create,
    endpoint_key,
    endpoint_test,
    endpoint_test_stored,
    endpoint_update,
)
from apps.projects.access import project_for
from apps.projects.models import Project, Role
from prefloop.types import PrefloopError

FORMS: dict[str, type[JudgeForm]] = {
    JudgeKind.REWARD_MODEL: RewardJudgeForm,
    JudgeKind.LLM: LlmJudgeForm,
    JudgeKind.WORLD: WorldJudgeForm,
}
KIND_WORDS = {
    JudgeKind.REWARD_MODEL: gettext_lazy("A model trained on preferences scores each answer."),
    JudgeKind.LLM: gettext_lazy("A language model reads both answers and says which is better, in both orders."),
    JudgeKind.WORLD: gettext_lazy("The world's own utility, with as much noise as you like. For experiments."),
}


@sensitive_post_parameters("api_key")
@sensitive_variables()
@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def new(request: HttpRequest, slug: str) -> HttpResponse:
    project = project_for(person(request), slug, Role.ENGINEER)
    kind = request.GET.get("kind", "")
    if kind not in FORMS or (kind == JudgeKind.WORLD and not project.world):
        kinds = [
            {"kind": key, "label": JudgeKind(key).label, "words": KIND_WORDS[JudgeKind(key)]}
            for key in FORMS
            if key != JudgeKind.WORLD or project.world
        ]
        context = {"project": project, "active": "judges", "kinds": kinds}
        return render(request, "judging/choose.html", context, status=404 if kind else 200)
    initial = {
        "criterion": project.criterion,
        "template": built_in_template("text"),
        "checkpoint": request.GET.get("checkpoint"),
        "mode": "text",
        "order_policy": "both_agree",
    }
    form = FORMS[kind](posted(request), project=project, initial=initial)
    return _edit(request, project, kind, form)


@sensitive_post_parameters("api_key")
@sensitive_variables()
@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def edit(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """The next version: a judge's settings never change, and what it said keeps the version that said it."""
    judge = judge_for_write(person(request), slug, pk)
    if judge.kind not in FORMS:
        raise Http404("verdicts that were imported have no settings")
    initial = {
        "checkpoint": judge.checkpoint_id,
        "endpoint": judge.endpoint_id,
        "criterion": judge.criterion,
        "mode": judge.mode,
        "order_policy": judge.order_policy,
        "template": judge_template(judge) if judge.kind == JudgeKind.LLM else "",
        "temperature": judge.options.get("temperature", 0.0),
        "max_tokens": judge.options.get("max_tokens", 1024),
        "noise": judge.options.get("noise", 0.0),
        "soft": judge.options.get("soft", False),
    }
    form = FORMS[judge.kind](posted(request), project=judge.project, judge=judge, initial=initial)
    return _edit(request, judge.project, judge.kind, form)


def _edit(request: HttpRequest, project: Project, kind: str, form: JudgeForm) -> HttpResponse:
    tested: dict[str, Any] | None = None
    if request.method == "POST" and request.POST.get("action") == "test" and isinstance(form, LlmJudgeForm):
        tested = _test(form)
        if getattr(request, "htmx", False):
            return render(request, "judging/_tested.html", {"tested": tested})
    elif request.method == "POST" and form.is_valid():
        try:
            made = _save(project, kind, form)
        except PrefloopError as error:
            form.add_error("base_url" if _is_about_the_address(form, error) else None, str(error))
        else:
            messages.success(
                request, _("%(name)s, version %(version)d, is made.") % {"name": made.name, "version": made.version}
            )
            return redirect("judging:judge", slug=project.slug, pk=made.pk)
    context = {
        "project": project,
        "active": "judges",
        "kind": kind,
        "kind_label": JudgeKind(kind).label,
        "kind_words": KIND_WORDS[JudgeKind(kind)],
        "form": form,
        "judge": form.judge,
        "tested": tested,
        "has_reward": kind != JudgeKind.REWARD_MODEL or form.fields["checkpoint"].queryset.exists(),  # type: ignore[attr-defined]
    }
    refused = bool(form.is_bound and tested is None and form.errors)
    return render(request, "judging/edit.html", context, status=400 if refused else 200)


def _is_about_the_address(form: JudgeForm, error: PrefloopError) -> bool:
    return "base_url" in form.fields and type(error).__name__ in {"EndpointForbidden", "JudgeUnreachable"}


@sensitive_variables()
def _save(project: Project, kind: str, form: JudgeForm) -> Judge:
    data = dict(form.cleaned_data)
    name = form.judge.name if form.judge is not None else str(data["name"])
    with transaction.atomic():
        if kind == JudgeKind.REWARD_MODEL:
            return judge_create(project=project, name=name, kind=kind, checkpoint=data["checkpoint"])
        if kind == JudgeKind.WORLD:
            options = {"noise": data["noise"], "soft": data["soft"]}
            return judge_create(project=project, name=name, kind=kind, options=options)
        endpoint = data["endpoint"] or endpoint_create(
            project=project,
            name=data["endpoint_name"],
            base_url=data["base_url"],
            model=data["model"],
            api_key=data["api_key"],
        )
        return judge_create(
            project=project,
            name=name,
            kind=kind,
            order_policy=data["order_policy"],
            endpoint=endpoint,
            template=data["template"],
            criterion=data["criterion"],
            mode=data["mode"],
            options={"temperature": data["temperature"], "max_tokens": data["max_tokens"]},
            is_simulated=endpoint.is_simulated,
        )


@sensitive_variables()
def _test(form: LlmJudgeForm) -> dict[str, Any]:
    """Ask the endpoint that the form describes which models it serves; nothing is saved."""
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
    form = EndpointForm(posted(request), initial={"base_url": found.base_url})
    tested: dict[str, Any] | None = None
    if request.method == "POST" and form.is_valid():
        url, key = form.cleaned_data["base_url"], form.cleaned_data["api_key"]
        try:
            if request.POST.get("action") == "test":
                said = endpoint_test_stored(endpoint=found, base_url=url, model=found.model, api_key=key)
                tested = {"ok": True, "text": said}
            else:
                had_key = bool(found.encrypted_key)
                endpoint_update(endpoint=found, base_url=url, model=found.model, api_key=key or None)
                if had_key and not found.encrypted_key:
                    messages.warning(request, _("The URL changed, so the stored key was wiped: enter it again."))
                messages.success(request, _("Saved."))
                return redirect("judging:endpoint", slug=slug, pk=pk)
        except PrefloopError as error:
            if request.POST.get("action") == "test":
                tested = {"ok": False, "text": str(error)}
            else:
                form.add_error("base_url", str(error))
    if tested is not None and getattr(request, "htmx", False):
        return render(request, "judging/_tested.html", {"tested": tested})
    context = {
        "project": found.project,
        "active": "judges",
        "endpoint": found,
        "has_key": bool(found.encrypted_key),
        "judges": found.judges.order_by("name", "-version")[:50],
        "form": form,
        "tested": tested,
    }
    return render(request, "judging/endpoint.html", context, status=400 if form.errors else 200)
