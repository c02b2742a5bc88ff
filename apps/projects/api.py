"""Members and invitations of a project, for programs."""

from __future__ import annotations

from typing import Any, cast

from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import User
from apps.core.api import BodySerializer
from apps.projects import access, selectors, services
from apps.projects.models import Invitation, Membership, Role

BAD = OpenApiResponse(description="One line says why nothing changed.")


class MemberSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    username = serializers.CharField(source="user.username")
    role = serializers.ChoiceField(choices=Role.choices)


class InvitationSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    role = serializers.ChoiceField(choices=Role.choices)
    note = serializers.CharField(allow_blank=True)
    expires_at = serializers.DateTimeField()


class Members(APIView):
    """The members of a project and their roles."""

    @extend_schema(responses={200: MemberSerializer(many=True)})
    def get(self, request: Request, slug: str) -> Response:
        rows = selectors.members_of(access.project_for(request.user, slug, Role.LEAD))
        return Response(MemberSerializer(rows, many=True).data)


class MemberDetail(APIView):
    """One member. PATCH gives another role; DELETE removes them, or lets oneself leave. Their labels stay."""

    class InputSerializer(BodySerializer):
        role = serializers.ChoiceField(choices=Role.choices)

    @extend_schema(request=InputSerializer, responses={200: MemberSerializer, 400: BAD})
    def patch(self, request: Request, slug: str, pk: int) -> Response:
        membership = self._membership(request, slug, pk)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        role = Role(cast(dict[str, Any], given.validated_data)["role"])
        services.member_change_role(membership=membership, role=role, actor=cast(User, request.user))
        return Response(MemberSerializer(membership).data)

    @extend_schema(responses={204: None, 400: BAD})
    def delete(self, request: Request, slug: str, pk: int) -> Response:
        membership = access.membership_to_end(request.user, slug, pk)
        services.member_remove(membership=membership, actor=cast(User, request.user))
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _membership(self, request: Request, slug: str, pk: int) -> Membership:
        project = access.project_for(request.user, slug, Role.OWNER)
        found = Membership.objects.filter(project=project, pk=pk).select_related("project", "user").first()
        if found is None:
            raise Http404
        return found


class Invitations(APIView):
    """The open invitations of a project. POST makes one; its link is in this reply and in no other."""

    class InputSerializer(BodySerializer):
        role = serializers.ChoiceField(choices=Role.choices)
        note = serializers.CharField(required=False, allow_blank=True, default="", max_length=120)

    class CreatedSerializer(InvitationSerializer):
        url = serializers.CharField(help_text="Whoever opens it first joins.")

    @extend_schema(responses={200: InvitationSerializer(many=True)})
    def get(self, request: Request, slug: str) -> Response:
        project = access.project_for(request.user, slug, Role.OWNER)
        rows = selectors.open_invitations(project, timezone.now())
        return Response(InvitationSerializer(rows, many=True).data)

    @extend_schema(request=InputSerializer, responses={201: CreatedSerializer, 400: BAD})
    def post(self, request: Request, slug: str) -> Response:
        project = access.project_for(request.user, slug, Role.OWNER)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        made, url = services.invitation_create(
            project=project,
            role=Role(values["role"]),
            note=values["note"],
            actor=cast(User, request.user),
            now=timezone.now(),
        )
        return Response(InvitationSerializer(made).data | {"url": url}, status=status.HTTP_201_CREATED)


class InvitationDetail(APIView):
    """Revoke an open invitation."""

    @extend_schema(responses={204: None, 400: BAD})
    def delete(self, request: Request, slug: str, pk: int) -> Response:
        project = access.project_for(request.user, slug, Role.OWNER)
        found = Invitation.objects.filter(project=project, pk=pk).select_related("project").first()
        if found is None:
            raise Http404
        services.invitation_revoke(invitation=found, actor=cast(User, request.user), now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)
