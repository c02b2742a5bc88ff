"""Flags on pairs: raised by whoever was given the pair, listed and resolved by leads."""

from __future__ import annotations

from typing import Any, cast

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import Scope
from apps.core.api import BodySerializer
from apps.rankings import access, selectors, services
from prefloop.records import FLAG_REASONS


class FlagBody(BodySerializer):
    """What a flag says, whatever it is on."""

    reason = serializers.ChoiceField(choices=list(FLAG_REASONS.items()))
    note = serializers.CharField(required=False, allow_blank=True, default="", max_length=services.MAX_REASON)


class FlagStoredSerializer(serializers.Serializer[Any]):
    flag = serializers.IntegerField()


class FlagsWithdrawnSerializer(serializers.Serializer[Any]):
    withdrawn = serializers.IntegerField(help_text="How many flags were taken back; 0 the second time.")


FLAG_STORED = {
    201: FlagStoredSerializer,
    200: OpenApiResponse(FlagStoredSerializer, description="The same flag was already stored, and is open."),
}


def flag_stored(made: services.Flagged) -> Response:
    """Answer with a flag's number: 201 if it is new."""
    code = status.HTTP_201_CREATED if made.created else status.HTTP_200_OK
    return Response(FlagStoredSerializer({"flag": made.flag.pk}).data, status=code)


class FlagCreate(APIView):
    """Flag the pair of an assignment for a lead. It is no answer: the pair can be voted on before and after."""

    scope = Scope.ANNOTATE

    class InputSerializer(FlagBody):
        assignment = serializers.IntegerField(min_value=1)

    @extend_schema(request=InputSerializer, responses=FLAG_STORED)
    def post(self, request: Request) -> Response:
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        assignment = access.assignment_for_write(access.person(request.user), values.pop("assignment"))
        return flag_stored(services.flag_create(assignment=assignment, **values, now=timezone.now()))


class FlagWithdraw(APIView):
    """Take back one's own flags on the pair of an assignment. Leads see them in the pair's history."""

    scope = Scope.ANNOTATE

    @extend_schema(request=None, responses={200: FlagsWithdrawnSerializer})
    def delete(self, request: Request, assignment: int) -> Response:
        given = access.assignment_for_write(access.person(request.user), assignment)
        n = services.flag_withdraw(assignment=given, now=timezone.now())
        return Response(FlagsWithdrawnSerializer({"withdrawn": n}).data)


class FlagSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField(source="pk")
    comparison = serializers.IntegerField(source="comparison_id", allow_null=True)
    completion = serializers.IntegerField(
        source="completion_id", allow_null=True, help_text="Of a flag on an answer to rate, which is on no comparison."
    )
    rater = serializers.CharField()
    reason = serializers.ChoiceField(choices=list(FLAG_REASONS.items()))
    note = serializers.CharField(allow_blank=True)
    at = serializers.DateTimeField(allow_null=True)
    resolved_at = serializers.DateTimeField(allow_null=True)
    resolved_by = serializers.CharField(allow_blank=True)


class Flags(APIView):
    """The flags that wait for a lead, oldest first, or with `resolved` those that are resolved, latest first."""

    class QuerySerializer(serializers.Serializer[Any]):
        resolved = serializers.BooleanField(required=False, default=False)

    @extend_schema(parameters=[OpenApiParameter("resolved", bool)], responses={200: FlagSerializer(many=True)})
    def get(self, request: Request, slug: str) -> Response:
        project = access.project_for_adjudication(request.user, slug)
        given = self.QuerySerializer(data=request.query_params)
        given.is_valid(raise_exception=True)
        rows = selectors.flags_of(project, resolved=cast(dict[str, Any], given.validated_data)["resolved"])
        return Response(FlagSerializer(rows, many=True).data)


class Resolve(APIView):
    """Resolve a flag, or open it again with `"resolved": false`."""

    class InputSerializer(BodySerializer):
        resolved = serializers.BooleanField()

    @extend_schema(request=InputSerializer, responses={200: FlagSerializer})
    def put(self, request: Request, slug: str, pk: int) -> Response:
        flag = access.flag_for_lead(request.user, slug, pk)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        resolved = cast(dict[str, Any], given.validated_data)["resolved"]
        by = access.person(request.user)
        made = services.flag_resolve(flag=flag, by=by, now=timezone.now(), resolved=resolved)
        return Response(FlagSerializer(made).data)
