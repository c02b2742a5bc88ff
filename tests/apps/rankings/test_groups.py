"""Groups of members: a batch is for whoever is in its groups when a pair is given, whatever happens to them."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from apps.core.models import AuditEvent
from apps.labels.models import Vote
from apps.projects.groups import MOST, BadGroup, group_change, group_create, group_delete
from apps.projects.models import MemberGroup, Membership, Role
from apps.projects.selectors import groups_of
from apps.projects.services import member_remove
from apps.rankings import selectors, services
from apps.rankings.models import Assignment
from apps.rankings.services.batches import NOBODY
from apps.rankings.services.counts import differences
from apps.rankings.services.seats import n_seats_wrong

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def pairs(project, make_comparison):
    return [make_comparison(project) for _ in range(9)]


@pytest.fixture
def dora(member):
    return member("dora", Role.ANNOTATOR)


def group(project, by, *members, name="night shift"):
    return group_create(project=project, name=name, members=members, by=by)


def batch(project, pairs, by, **more):
    return services.batch_create(project=project, name="b", comparison_ids=[one.pk for one in pairs], by=by, **more)


def first_of(project, user, n=1):
    held = services.assignments_lease(project=project, user=user, n=n, now=T0, rng=random.Random(0))
    return [seat.comparison_id for seat in held]


def shown(project):
    (one,) = selectors.batches_of(project, now=T0)
    return one


def test_a_batch_comes_first_for_named_people_and_groups_together(project, pairs, ann, bob, dora, member):
    eve = member("eve", Role.ANNOTATOR)
    batch(project, pairs[6:], bob, people=[ann], groups=[group(project, bob, dora)])
    assert project.batch_lanes[0][1] == sorted([ann.pk, dora.pk])
    assert first_of(project, ann) == [pairs[6].pk]
    assert first_of(project, dora) == [pairs[7].pk]
    assert first_of(project, eve) == [pairs[0].pk]
    one = shown(project)
    assert (one.people, [(of.name, of.members) for of in one.groups]) == (("ann",), [("night shift", ("dora",))])


def test_who_comes_and_goes_counts_for_later_seats(project, pairs, ann, bob, dora):
    made = group(project, bob)
    batch(project, pairs[6:], bob, groups=[made])
    assert project.batch_lanes[0][1] == [NOBODY], "a group without members is not everybody"
    assert first_of(project, ann) == [pairs[0].pk]
    group_change(group=made, name="day shift", members=[dora, ann], by=bob)
    project.refresh_from_db()
    assert first_of(project, dora) == [pairs[6].pk]
    held = Assignment.objects.get(user=dora, state="open")
    group_change(group=made, name="day shift", members=[ann], by=bob)
    project.refresh_from_db()
    services.vote_create(assignment=held, choice="left", now=T0)
    assert Vote.objects.filter(user=dora).exists(), "what is held stays"
    assert first_of(project, dora) == [pairs[1].pk]
    assert [(of.name, of.members) for of in shown(project).groups] == [("day shift", ("ann",))]
    assert (differences(project), n_seats_wrong(project)) == ({}, 0)


def test_a_deleted_group_keeps_its_batches_and_their_people(project, pairs, ann, bob, dora):
    made = group(project, bob, dora)
    batch(project, pairs[6:], bob, groups=[made])
    assert first_of(project, dora) == [pairs[6].pk]
    for _ in range(2):
        group_delete(group=made, by=bob, now=T0)
    project.refresh_from_db()
    assert list(groups_of(project)) == []
    services.vote_create(assignment=Assignment.objects.get(user=dora, state="open"), choice="left", now=T0)
    assert first_of(project, dora) == [pairs[7].pk]
    assert first_of(project, ann) == [pairs[0].pk]
    one = shown(project)
    assert [(of.name, of.members, of.is_deleted) for of in one.groups] == [("night shift", ("dora",), True)]
    batch_again = group(project, bob, ann)
    assert batch_again.name == made.name, "the name is free again"
    with pytest.raises(BadGroup, match="the group is deleted"):
        group_change(group=made, name="x", members=[], by=bob)


def test_who_leaves_the_project_leaves_its_groups(project, pairs, ann, bob, dora):
    made = group(project, bob, dora, ann)
    batch(project, pairs[6:], bob, groups=[made])
    member_remove(membership=Membership.objects.get(project=project, user=dora), actor=bob)
    project.refresh_from_db()
    assert project.batch_lanes[0][1] == [ann.pk]
    assert [user.username for user in made.members.all()] == ["ann"]


def test_what_is_no_group_is_refused(project, bob, ann, make_project, charlie):
    group(project, bob, ann)
    for name, members, why in (
        (" night  shift ", [], "there is a group 'night shift' already"),
        ("  ", [], "a group needs a name"),
        ("x" * 61, [], "at most 60 characters"),
        ("other", [charlie], "charlie is no member of the project"),
    ):
        with pytest.raises(BadGroup, match=why):
            group_create(project=project, name=name, members=members, by=bob)
    for n in range(MOST - 1):
        MemberGroup.objects.create(project=project, name=str(n))
    with pytest.raises(BadGroup, match=f"at most {MOST} groups"):
        group(project, bob, name="one more")
    assert group(make_project("far-away"), bob).name == "night shift", "names are a project's"


def test_each_act_is_audited(project, bob, ann, dora):
    made = group(project, bob, ann)
    group_change(group=made, name="night shift", members=[ann], by=bob)  # nothing changes
    group_change(group=made, name="day", members=[dora], by=bob)
    group_delete(group=made, by=bob, now=T0)
    said = AuditEvent.objects.filter(target=f"group:{made.pk}").order_by("id")
    assert [(one.verb, one.actor, one.data) for one in said] == [
        ("group.create", bob, {"name": "night shift", "members": [ann.pk]}),
        ("group.change", bob, {"name": "day", "was": "night shift", "added": [dora.pk], "removed": [ann.pk]}),
        ("group.delete", bob, {"name": "day", "members": [dora.pk]}),
    ]


def test_leads_work_with_them_on_the_people_page(client, project, pairs, bob, ann, dora):
    client.force_login(bob)
    people, at = f"/p/{project.slug}/reports/people/", f"/p/{project.slug}/groups/"
    reply = client.post(at, {"name": "night", "members": ["ann"]})
    assert reply.url == f"{people}#groups"
    made = project.groups.get()
    page = client.get(people).content.decode()
    assert f'action="{at}{made.pk}/"' in page
    assert "a group &#x27;night&#x27; already" in client.post(at, {"name": "night"}, follow=True).content.decode()
    client.post(f"{at}{made.pk}/", {"name": "day", "members": ["ann", "dora"]})
    assert "Members of the group: " in client.post(at, {"name": "x", "members": ["zoe"]}, follow=True).content.decode()
    batches = f"/p/{project.slug}/review/batches/"
    assert "day (2)" in client.get(batches).content.decode()
    client.post(batches, {"name": "b", "most": 3, "groups": ["day"]})
    client.post(f"{at}{made.pk}/delete/")
    page = client.get(batches).content.decode()
    assert "<strong>day</strong>" in page
    assert "ann, dora" in page
    client.force_login(ann)
    assert client.post(at, {"name": "mine"}).status_code == 404
    assert client.post(f"{at}{made.pk}/", {"name": "mine"}).status_code == 404


def test_programs_work_with_them_too(api_for, project, pairs, bob, ann, dora):
    api, at = api_for(bob), f"/api/v1/projects/{project.slug}/groups/"
    made = api.post(at, {"name": "night", "members": ["dora"]}, format="json")
    assert (made.status_code, made.json()["members"]) == (201, ["dora"])
    one = f"{at}{made.json()['id']}/"
    assert api.patch(one, {"members": ["ann", "dora"]}, format="json").json()["name"] == "night"
    assert api.patch(one, {"name": "day"}, format="json").json()["members"] == ["ann", "dora"]
    assert api.post(at, {"name": "day"}, format="json").json() == {"detail": "there is a group 'day' already"}
    body = {"name": "b", "most": 2, "groups": ["day"]}
    reply = api.post(f"/api/v1/projects/{project.slug}/batches/", body, format="json")
    assert reply.json()["groups"] == [{"name": "day", "members": ["ann", "dora"], "is_deleted": False}]
    assert api.delete(one).status_code == 204
    assert api.get(at).json() == []
    assert api_for(ann).get(at).status_code == 404
