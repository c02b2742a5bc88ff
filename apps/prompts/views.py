"""The prompt sets of a project, and pasting prompts into one. A prompt's own page is in apps/samples."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from apps.accounts.views import person, posted
from apps.projects.access import has_role, project_for
from apps.projects.models import Role
from apps.prompts import selectors, services
from apps.prompts.filters import chosen_filters
from apps.prompts.forms import SPLITS, PasteForm
from prefloop.types import PrefloopError

PAGE = 50


@login_required
@never_cache
@require_GET
def prompts(request: HttpRequest, slug: str) -> HttpResponse:
    project = project_for(person(request), slug, Role.LEAD)
    chosen = chosen_filters(request, "set", "split", "q")
    found = selectors.prompt_list(project, set_name=chosen["set"], split=chosen["split"], search=chosen["q"])
    page = Paginator(found, PAGE).get_page(request.GET.get("page"))
    counts = selectors.completion_counts(prompt.pk for prompt in page)
    context = {
        "project": project,
        "active": "prompts",
        "sets": list(selectors.prompt_set_list(project)),
        "page": page,
        "rows": [(prompt, counts.get(prompt.pk, 0)) for prompt in page],
        "chosen": chosen,
        "is_filtered": any(chosen.values()),
        "splits": SPLITS,
        "may_write": has_role(person(request), project, Role.ENGINEER),
    }
    return render(request, "prompts/list.html", context)


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def add(request: HttpRequest, slug: str) -> HttpResponse:
    project = project_for(person(request), slug, Role.ENGINEER)
    form = PasteForm(posted(request), initial={"set_name": request.GET.get("set", "")[:120], "split": "train"})
    if request.method == "POST" and form.is_valid():
        try:
            pasted = services.prompts_paste(project=project, **form.cleaned_data)
        except PrefloopError as error:
            form.add_error("text", str(error))
        else:
            said = ngettext("%(n)d prompt added.", "%(n)d prompts added.", pasted.n_added) % {"n": pasted.n_added}
            if pasted.n_there:
                said += " " + _("%(n)d were already in the set.") % {"n": pasted.n_there}
            messages.success(request, said)
            return redirect(f"{reverse('prompts:list', args=[slug])}?{urlencode({'set': pasted.prompt_set.name})}")
    context = {
        "project": project,
        "active": "prompts",
        "form": form,
        "sets": list(selectors.prompt_set_list(project)),
    }
    return render(request, "prompts/add.html", context, status=400 if form.errors else 200)
