"""Steering a loop for programs: pause, resume, cancel, leave the review, change it, train without overrides."""

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
from apps.projects.models import Role
from apps.training.access import loop_for_api
from apps.training.loops import steering
from apps.training.loops.api import LoopSerializer, SettingField, shown
from apps.training.loops.counterfactual import counterfactual_start
from apps.training.models import MAX_ROUNDS, Loop

BAD = OpenApiResponse(description="One line says why nothing was done.")


class _Action(APIView):
    """One thing that an engineer does to a loop; the answer is the loop's state afterwards."""

    def act(self, loop: Loop, by: User) -> None:
        raise NotImplementedError

    @extend_schema(request=None, responses={200: LoopSerializer, 400: BAD})
    def post(self, request: Request, pk: int) -> Response:
        loop = loop_for_api(request.user, pk, Role.ENGINEER)
        self.act(loop, cast(User, request.user))
        loop.refresh_from_db()
        return Response(shown(loop))


class LoopPause(_Action):
    """Pause a loop: its jobs return to the queue with their state."""

    def act(self, loop: Loop, by: User) -> None:
        steering.loop_pause(loop=loop, by=by)


class LoopResume(_Action):
    """Continue a paused, failed or cancelled loop from the stage in which it stopped."""

    def act(self, loop: Loop, by: User) -> None:
        steering.loop_resume(loop=loop, by=by)


class LoopCancel(_Action):
    """Stop a loop; its results stay."""

    def act(self, loop: Loop, by: User) -> None:
        steering.loop_cancel(loop=loop, by=by, now=timezone.now())


class LoopContinue(_Action):
    """Leave the review with the decisions made so far."""

    def act(self, loop: Loop, by: User) -> None:
        steering.loop_continue(loop=loop, by=by)


class LoopChanges(APIView):
    """Change settings, or the number of rounds, from the next round on; rounds that have started keep theirs."""

    class InputSerializer(BodySerializer):
        set = serializers.DictField(child=SettingField(), required=False, default=dict)
        rounds = serializers.IntegerField(
            required=False, allow_null=True, default=None, min_value=1, max_value=MAX_ROUNDS
        )

    @extend_schema(request=InputSerializer, responses={201: LoopSerializer, 400: BAD})
    def post(self, request: Request, pk: int) -> Response:
        loop = loop_for_api(request.user, pk, Role.ENGINEER)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        steering.loop_change(loop=loop, settings=values["set"], n_rounds=values["rounds"], by=cast(User, request.user))
        loop.refresh_from_db()
        return Response(shown(loop), status=status.HTTP_201_CREATED)


class WithoutOverrides(APIView):
    """Train a finished round again without people's overrides, beside what it made."""

    class OutputSerializer(serializers.Serializer[Any]):
        id = serializers.IntegerField()
        round = serializers.IntegerField(source="round.index")
        state = serializers.CharField()

    @extend_schema(request=None, responses={201: OutputSerializer, 400: BAD})
    def post(self, request: Request, pk: int, index: int) -> Response:
        loop = loop_for_api(request.user, pk, Role.ENGINEER)
        round_ = loop.rounds.filter(index=index).first()
        if round_ is None:
            raise Http404
        made = counterfactual_start(round_=round_, by=cast(User, request.user))
        return Response(self.OutputSerializer(made).data, status=status.HTTP_201_CREATED)
