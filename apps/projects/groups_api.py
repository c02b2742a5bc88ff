"""Groups of a project's members, for leads' programs."""

from __future__ import annotations

from typing import Any, cast

from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import User
from apps.core.form_api import body_of, filled, sent
from apps.projects import access, groups, selectors
from apps.projects.forms import GroupForm
from apps.projects.models import MemberGroup, Role

BAD = OpenApiResponse(description="One line says why nothing changed.")
GroupBody = body_of(GroupForm)


class GroupSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    members = serializers.SerializerMethodField()

    def get_members(self, row: MemberGroup) -> list[str]:
        return sorted(member.username for member in row.members.all())


class Groups(APIView):
    """The groups of a project's members. POST makes one."""

    @extend_schema(responses={200: GroupSerializer(many=True)})
    def get(self, request: Request, slug: str) -> Response:
        project = access.project_for(request.user, slug, Role.LEAD)
        return Response(GroupSerializer(selectors.groups_of(project), many=True).data)

    @extend_schema(request=GroupBody, responses={201: GroupSerializer, 400: BAD})
    def post(self, request: Request, slug: str) -> Response:
        project = access.project_for(request.user, slug, Role.LEAD)
        form = filled(GroupForm(project), sent(GroupBody(data=request.data)))
        made = groups.group_create(project=project, by=cast(User, request.user), **form.cleaned_data)
        return Response(GroupSerializer(made).data, status=status.HTTP_201_CREATED)


class GroupDetail(APIView):
    """One group. PATCH gives it another name or other members, for pairs that are given from now on; DELETE: nobody can
    choose it any more, and batches that are for it stay with whoever is in it now.
    """

    @extend_schema(request=GroupBody, responses={200: GroupSerializer, 400: BAD})
    def patch(self, request: Request, slug: str, pk: int) -> Response:
        group = access.group_for_lead(request.user, slug, pk)
        form = GroupForm(group.project, initial=GroupForm.initial_of(group))
        said = filled(form, sent(GroupBody(data=request.data))).cleaned_data
        groups.group_change(group=group, by=cast(User, request.user), **said)
        return Response(GroupSerializer(group).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, pk: int) -> Response:
        group = access.group_for_lead(request.user, slug, pk)
        groups.group_delete(group=group, by=cast(User, request.user), now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)
