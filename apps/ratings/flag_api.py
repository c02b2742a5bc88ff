"""Flags on answers to rate, raised by whoever was given the answer. Leads list and resolve them with those on pairs."""

from __future__ import annotations

from typing import Any, cast

from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import Scope
from apps.core.api import BodySerializer
from apps.rankings.services import MAX_REASON
from apps.ratings import access, services
from prefloop.records import FLAG_REASONS


class FlagCreate(APIView):
    """Flag the answer of a seat for a lead. It is no rating: the answer can be rated before and after."""

    scope = Scope.ANNOTATE

    class InputSerializer(BodySerializer):
        seat = serializers.IntegerField(min_value=1)
        reason = serializers.ChoiceField(choices=list(FLAG_REASONS.items()))
        note = serializers.CharField(required=False, allow_blank=True, default="", max_length=MAX_REASON)

    class OutputSerializer(serializers.Serializer[Any]):
        flag = serializers.IntegerField()

    @extend_schema(
        request=InputSerializer,
        responses={
            201: OutputSerializer,
            200: OpenApiResponse(OutputSerializer, description="The same flag was already stored, and is open."),
        },
    )
    def post(self, request: Request) -> Response:
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        seat = access.seat_for_write(access.person(request.user), values.pop("seat"))
        made = services.flag_create(seat=seat, **values, now=timezone.now())
        code = status.HTTP_201_CREATED if made.created else status.HTTP_200_OK
        return Response(self.OutputSerializer({"flag": made.flag.pk}).data, status=code)


class FlagWithdraw(APIView):
    """Take back one's own flags on the answer of a seat."""

    scope = Scope.ANNOTATE

    class OutputSerializer(serializers.Serializer[Any]):
        withdrawn = serializers.IntegerField(help_text="How many flags were taken back; 0 the second time.")

    @extend_schema(request=None, responses={200: OutputSerializer})
    def delete(self, request: Request, seat: int) -> Response:
        given = access.seat_for_write(access.person(request.user), seat)
        n = services.flag_withdraw(seat=given, now=timezone.now())
        return Response(self.OutputSerializer({"withdrawn": n}).data)
