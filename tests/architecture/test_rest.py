"""Programs can do what people do: every page that changes something has its routes in the API, for the same people."""

from __future__ import annotations

import re

import pytest
from django.db import transaction
from django.utils import timezone

from tests.architecture.rest import REST
from tests.architecture.test_blindness import path_of, world  # noqa: F401 (a fixture)
from tests.architecture.test_routes import CALLBACKS, FOUND, _methods, _path

pytestmark = pytest.mark.django_db
ROLES = ("charlie", "ann", "bob", "erin", "alice")
OF_OPERATORS = ("quotas/projects/<slug:slug>/", "quotas/people/<int:pk>/")  # no role in a project is enough
PAIRS = [
    (page, method.lower(), f"api/v1/{route}")
    for page, ways in REST.items()
    if not isinstance(ways, str)
    for method, route in (way.split(" ") for way in ways)
]
# where a page, or the API, decides by what is sent whether there is anything to do: enough for it to look who asks
SENT: dict[str, dict[str, str]] = {
    "p/<slug:slug>/reports/people/exclude/": {"rater": "somebody"},
    "p/<slug:slug>/review/several/": {"judge": "main"},
    "p/<slug:slug>/review/practice/decide/": {"user": "dora"},
    "p/<slug:slug>/annotate/practice/": {"choice": "left"},
    "api/v1/projects/<slug:slug>/exclusions/": {"rater": "somebody"},
    "api/v1/projects/<slug:slug>/agreements/": {"judge": "main", "comparisons": [1]},
}
# their body names the assignment, which is one's own or nobody's
OF_ONES_OWN = {
    "api/v1/votes/",
    "api/v1/votes/of/<int:assignment>/",
    "api/v1/rankings/",
    "api/v1/ratings/",
    "api/v1/ratings/of/<int:seat>/",
    "api/v1/ratings/flags/",
    "api/v1/ratings/flags/of/<int:seat>/",
    "api/v1/flags/",
    "api/v1/flags/of/<int:assignment>/",
}


@pytest.mark.slow
@pytest.mark.slow
def test_every_page_that_changes_something_says_how_programs_do_it(alice, client_for):
    pages = [route for route in FOUND if not route.startswith("api/")]
    taking = [route for route in pages if client_for(alice).post(_path(route), {}).status_code != 405]
    assert sorted(taking) == sorted(REST), "declare it in tests/architecture/rest.py"


def test_what_it_says_is_there():
    assert [pair for pair in PAIRS if pair[2] not in CALLBACKS or pair[1] not in _methods(CALLBACKS[pair[2]].cls)] == []


@pytest.fixture
def operator(make_user):
    return make_user("root", is_superuser=True)


@pytest.fixture
def there(world, project, alice, member, make_comparison, settings, tmp_path):  # noqa: F811
    """One row of everything that a page or the API can act on: what stands for it in a path, by the path's end."""
    from apps.events.models import Delivery, Event, Webhook
    from apps.exchange.uploads import upload_create
    from apps.labels.models import Exclusion, JudgingRun
    from apps.labels.models import PairFlag as Flag
    from apps.policies.models import Endpoint
    from apps.projects.models import Invitation, MemberGroup, Membership
    from apps.rankings.batch_models import Batch
    from apps.reports.models import Study

    settings.PROJECT_CREATORS = "everyone"
    url = "http://127.0.0.1:9/v1"
    endpoint = Endpoint.objects.create(project=project, name="server", base_url=url, model="m")
    type(world.judge).objects.update(kind="llm", endpoint=endpoint, criterion="kind")
    hook = Webhook.objects.create(project=project, url="http://127.0.0.1:9/", sealed_secret="x")
    delivery = Delivery.objects.create(webhook=hook, event=Event.objects.create(project=project, kind="ping"))
    soon = timezone.now() + timezone.timedelta(days=1)
    invitation = Invitation.objects.create(
        project=project, role="lead", token_hash="h", created_by=alice, expires_at=soon
    )
    settings.VAR_DIR = tmp_path
    upload = upload_create(project=project, name="a.jsonl", chunks=[b"{}"], created_by=alice)
    run = JudgingRun.objects.create(project=project, judge=world.judge, n_comparisons=1)
    study = Study.objects.create(project=project, name="gap", n_seeds=1)
    return {
        "<slug:slug>": project.slug,
        "<slug:recipe>": "dpo",
        "<slug:name>": study.name,
        "<slug:world>": "letters",
        "<str:username>": "dora",
        "<str:token>": upload.token,
        "<str:name>": "no-such-upload",
        "<int:run>": run.pk,
        "<int:index>": 1,
        "<int:delivery>": delivery.pk,
        "<slug:side>": "first",
        "members/<int:pk>": Membership.objects.get(user=member("dora", "annotator")).pk,
        "invitations/<int:pk>": invitation.pk,
        "groups/<int:pk>": MemberGroup.objects.create(project=project, name="night").pk,
        "webhooks/<int:pk>": hook.pk,
        "endpoints/<int:pk>": endpoint.pk,
        "exclusions/<int:pk>": Exclusion.objects.create(project=project, rater="torn").pk,
        "flags/<int:pk>": Flag.objects.create(comparison=make_comparison(project), reason="broken", rater="ann").pk,
        "loops/<int:pk>": world.loop.pk,
        "people/<int:pk>": alice.pk,
        "batches/<int:pk>": Batch.objects.create(project=project, name="first", lane=90).pk,
    }


def _filled(route, there, world):  # noqa: F811
    for end, value in there.items():
        if end in route:
            route = route.replace(end, re.sub(r"<[^>]+>", str(value), end))
    return path_of(route, world)


def _answer(call, *args, **kwargs):
    """Do it, look at the answer, and leave everything as it was."""
    with transaction.atomic():
        found = call(*args, **kwargs)
        transaction.set_rollback(True)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("page", "method", "route"), PAIRS)
def test_the_api_lets_in_whom_the_page_lets_in(page, method, route, there, world, request, client_for, api_for):  # noqa: F811
    let_in = {"page": [], "api": []}
    last = "operator" if page in OF_OPERATORS else "alice"
    for role in (*ROLES, "operator") if page in OF_OPERATORS else ROLES:
        person = request.getfixturevalue(role)
        told = _answer(client_for(person).post, _filled(page, there, world), SENT.get(page, {}))
        let_in["page"] += [role] * (told.status_code != 404)
        body = SENT.get(route, {})
        told = _answer(getattr(api_for(person), method), _filled(route, there, world), body, format="json")
        let_in["api"] += [role] * (told.status_code != 404)
    assert _answer(getattr(api_for(None), method), _filled(route, there, world)).status_code == 401
    if route in OF_ONES_OWN:
        return
    assert last in let_in["page"], "the page has nothing to act on: let `there` have it"
    assert let_in["api"] == let_in["page"]
