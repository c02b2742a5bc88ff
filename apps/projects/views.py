"""The start page, a project's settings, and the page an invitation opens."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.services import AccountRefused
from apps.accounts.views import person, posted, sign_in
from apps.projects import access, selectors, services
from apps.projects.forms import (
    GuidelineForm,
    InvitationForm,
    LabelPolicyForm,
    NewAccountForm,
    ProjectForm,
    RoleForm,
)
from apps.projects.models import Invitation, Membership, Project, Role
from prefloop.criteria import PRESETS, Criterion, criteria_written
from prefloop.reasons import PRESETS as REASONS
from prefloop.reasons import reasons_written
from prefloop.types import PrefloopError

SETTINGS_TABS = ("general", "labels", "guidelines", "members")


@login_required
@require_GET
def home(request: HttpRequest) -> HttpResponse:
    user = person(request)
    context = {
        "cards": selectors.project_cards(user),
        "may_create": access.may_create_project(user),
        "is_operator": access.is_operator(user),
        "demos": selectors.demos_to_make(),
    }
    return render(request, "projects/home.html", context)


@login_required
@require_http_methods(["GET", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Create a project, if the operator allows it to this user; for others the page does not exist."""
    if not access.may_create_project(person(request)):
        raise Http404("no such page")
    form = ProjectForm(posted(request))
    if request.method == "POST" and form.is_valid():
        try:
            project = services.project_create(owner=person(request), **form.cleaned_data)
        except PrefloopError as error:
            form.add_error("name", str(error))
        else:
            return redirect(f"/p/{project.slug}/")
    return render(request, "projects/new.html", {"form": form}, status=400 if form.errors else 200)


def _settings_page(request: HttpRequest, project: Project, *, status: int = 200, **extra: Any) -> HttpResponse:
    """Show the settings; `extra` replaces a form that was refused, or has a secret that is shown once."""
    role = access.role_of(person(request), project)
    is_lead, is_owner = access.includes(role, Role.LEAD), access.includes(role, Role.OWNER)
    tab = extra.pop("tab", None) or request.GET.get("tab", "general")
    if tab not in SETTINGS_TABS:
        raise Http404("no such tab")
    current = selectors.guideline_current(project)
    context = {
        "project": project,
        "active": "settings",
        "tab": tab,
        "role": role,
        "is_lead": is_lead,
        "is_owner": is_owner,
        "general_form": ProjectForm(initial=ProjectForm.initial_of(project)),
        "label_form": LabelPolicyForm(initial=LabelPolicyForm.initial_of(project)),
        "guideline": current,
        "guideline_versions": project.guidelines.select_related("created_by").order_by("-version"),
        "guideline_form": GuidelineForm(initial=GuidelineForm.initial_of(current)),
        "presets": PRESETS,
        "reasons_presets": REASONS,
        "members": selectors.members_of(project) if is_lead else [],
        "roles": Role.choices,
        "invitations": selectors.open_invitations(project, timezone.now()) if is_owner else [],
        "invitation_form": InvitationForm(),
        "invitation_url": "",
    }
    return render(request, "projects/settings.html", context | extra, status=status)


def _back(project: Project, tab: str) -> HttpResponse:
    return redirect(f"/p/{project.slug}/settings/?tab={tab}")


@login_required
@require_GET
def settings(request: HttpRequest, slug: str) -> HttpResponse:
    """All members may read a project's guidelines and policy; only owners change members."""
    return _settings_page(request, access.project_for(person(request), slug))


@login_required
@require_POST
def general_save(request: HttpRequest, slug: str) -> HttpResponse:
    project = access.project_for(person(request), slug, Role.OWNER)
    form = ProjectForm(request.POST)
    if not form.is_valid():
        return _settings_page(request, project, tab="general", general_form=form, status=400)
    services.project_update(project=project, actor=person(request), **form.cleaned_data)
    messages.success(request, _("Saved."))
    return _back(project, "general")


@login_required
@require_POST
def labels_save(request: HttpRequest, slug: str) -> HttpResponse:
    project = access.project_for(person(request), slug, Role.OWNER)
    form = LabelPolicyForm(request.POST)
    if not form.is_valid():
        return _settings_page(request, project, tab="labels", label_form=form, status=400)
    services.label_policy_set(project=project, actor=person(request), **form.cleaned_data)
    messages.success(request, _("Saved."))
    return _back(project, "labels")


@login_required
@require_POST
def guideline_save(request: HttpRequest, slug: str) -> HttpResponse:
    project = access.project_for(person(request), slug, Role.LEAD)
    preset = PRESETS.get(request.POST.get("preset", ""))
    if preset is not None:
        written = criteria_written([Criterion(one.name, _(one.question)) for one in preset])
        form = GuidelineForm(initial=request.POST.dict() | {"criteria": written})
        return _settings_page(request, project, tab="guidelines", guideline_form=form)
    usual = REASONS.get(request.POST.get("reasons_preset", ""))
    if usual is not None:
        form = GuidelineForm(initial=request.POST.dict() | {"reasons": reasons_written([_(one) for one in usual])})
        return _settings_page(request, project, tab="guidelines", guideline_form=form)
    form = GuidelineForm(request.POST)
    if not form.is_valid():
        return _settings_page(request, project, tab="guidelines", guideline_form=form, status=400)
    try:
        guideline = services.guideline_add(project=project, actor=person(request), **form.cleaned_data)
    except PrefloopError as error:
        _refuse(form, error)
        return _settings_page(request, project, tab="guidelines", guideline_form=form, status=400)
    messages.success(request, _("Version %(version)d now applies.") % {"version": guideline.version})
    return _back(project, "guidelines")


def _refuse(form: Form, error: PrefloopError) -> None:
    form.add_error(None, str(error))


def _membership(project: Project, pk: int) -> Membership:
    membership = project.memberships.select_related("user", "project").filter(pk=pk).first()
    if membership is None:
        raise Http404("no such member")
    return membership


@login_required
@require_POST
def member_role(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    project = access.project_for(person(request), slug, Role.OWNER)
    form = RoleForm(request.POST)
    if form.is_valid():
        try:
            services.member_change_role(
                membership=_membership(project, pk), role=Role(form.cleaned_data["role"]), actor=person(request)
            )
        except PrefloopError as error:
            messages.error(request, str(error))
        else:
            messages.success(request, _("The role has been changed."))
    else:
        messages.error(request, _("There is no such role."))
    return _back(project, "members")


@login_required
@require_POST
def member_remove(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Owners remove members; anybody may leave."""
    user = person(request)
    membership = access.membership_to_end(user, slug, pk)
    project = membership.project
    try:
        services.member_remove(membership=membership, actor=user)
    except PrefloopError as error:
        messages.error(request, str(error))
        return _back(project, "members")
    if membership.user_id == user.pk:
        messages.success(request, _("You have left %(name)s.") % {"name": project.name})
        return redirect("/")
    messages.success(request, _("The member has been removed. Their labels stay."))
    return _back(project, "members")


@login_required
@require_POST
def invitation_new(request: HttpRequest, slug: str) -> HttpResponse:
    """Make a link and show it only in this response."""
    project = access.project_for(person(request), slug, Role.OWNER)
    form = InvitationForm(request.POST)
    if not form.is_valid():
        return _settings_page(request, project, tab="members", invitation_form=form, status=400)
    _row, url = services.invitation_create(
        project=project,
        role=Role(form.cleaned_data["role"]),
        note=form.cleaned_data["note"],
        actor=person(request),
        now=timezone.now(),
    )
    return _settings_page(request, project, tab="members", invitation_url=url)


@login_required
@require_POST
def invitation_revoke(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    project = access.project_for(person(request), slug, Role.OWNER)
    invitation = Invitation.objects.filter(project=project, pk=pk).select_related("project").first()
    if invitation is None:
        raise Http404("no such invitation")
    try:
        services.invitation_revoke(invitation=invitation, actor=person(request), now=timezone.now())
    except PrefloopError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("The invitation has been revoked."))
    return _back(project, "members")


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Accept an invitation: the signed-in user by a button, others by creating an account."""
    now = timezone.now()
    try:
        row = services.invitation_find(token=token, now=now)
    except services.InvitationInvalid:
        return render(request, "accounts/link_invalid.html", status=404)
    signed_in = request.user.is_authenticated
    form = None if signed_in else NewAccountForm(posted(request))
    if request.method == "POST":
        try:
            if signed_in:
                services.invitation_accept(token=token, user=person(request), now=now)
                return redirect(f"/p/{row.project.slug}/")
            if form is not None and form.is_valid():
                membership = services.invitation_accept_new(token=token, now=now, **form.cleaned_data)
                return sign_in(request, membership.user, by="invitation", then=f"/p/{row.project.slug}/")
        except services.InvitationInvalid:
            return render(request, "accounts/link_invalid.html", status=404)
        except AccountRefused as error:
            if form is not None:
                form.add_error("username", str(error))
    context = {"invitation": row, "form": form, "login_next": request.path}
    return render(request, "projects/invitation.html", context, status=400 if form is not None and form.errors else 200)
