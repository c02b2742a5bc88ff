"""Flags on answers to rate, raised by whoever was given the answer. Leads list and resolve them with those on pairs."""

from __future__ import annotations

from typing import Any, cast

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import Scope
from apps.rankings.flag_api import FLAG_STORED, FlagBody, FlagsWithdrawnSerializer, flag_stored
from apps.ratings import access, services


class AnswerFlagCreate(APIView):
    """Flag the answer of a seat for a lead. It is no rating: the answer can be rated before and after."""

    scope = Scope.ANNOTATE

    class InputSerializer(FlagBody):
        seat = serializers.IntegerField(min_value=1)

    @extend_schema(request=InputSerializer, responses=FLAG_STORED)
    def post(self, request: Request) -> Response:
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        seat = access.seat_for_write(access.person(request.user), values.pop("seat"))
        return flag_stored(services.flag_create(seat=seat, **values, now=timezone.now()))


class FlagWithdraw(APIView):
    """Take back one's own flags on the answer of a seat."""

    scope = Scope.ANNOTATE

    @extend_schema(request=None, responses={200: FlagsWithdrawnSerializer})
    def delete(self, request: Request, seat: int) -> Response:
        given = access.seat_for_write(access.person(request.user), seat)
        n = services.flag_withdraw(seat=given, now=timezone.now())
        return Response(FlagsWithdrawnSerializer({"withdrawn": n}).data)
