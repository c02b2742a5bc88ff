"""Loops for programs: start one, and ask for its state."""

from __future__ import annotations

from typing import Any, cast

from django.http import Http404
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import User
from apps.core.api import BodySerializer
from apps.projects.access import project_for
from apps.projects.models import Role
from apps.training import access
from apps.training.lineage import selectors
from apps.training.lineage.measurers import evaluation_of
from apps.training.loops.starting import ingredient_start, loop_start
from apps.training.models import MAX_ROUNDS, MAX_SEED, Loop
from apps.training.rounds.stations import current_round
from prefloop.recipes.catalogue import UnknownRecipe, get_recipe

LISTED = 200


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]})
class SettingField(serializers.Field):  # type: ignore[type-arg]
    """A setting's value: text, number or flag; the recipe checks it."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str | int | float | bool):
            raise serializers.ValidationError("a setting is a text, a number or a boolean")
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class LoopSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    recipe = serializers.CharField()
    state = serializers.CharField()
    round = serializers.IntegerField(allow_null=True)
    stage = serializers.CharField(allow_null=True)
    n_rounds = serializers.IntegerField()
    seed = serializers.IntegerField()
    failure_class = serializers.CharField(allow_blank=True)
    error = serializers.CharField(allow_blank=True)
    foreseen_seconds = serializers.FloatField(
        allow_null=True, help_text="All rounds from the first on, as forecast at the start; null where nothing told."
    )
    took_seconds = serializers.FloatField(allow_null=True, help_text="What they took; null before the loop is done.")
    foreseen_memory_bytes = serializers.IntegerField(
        allow_null=True, help_text="The most that training holds on a CPU, as forecast; null where nothing told."
    )
    memory_bytes = serializers.IntegerField(
        allow_null=True,
        help_text="The most that training held, of the accelerator's memory where there is one; null before the loop "
        "is done, or where nothing was trained.",
    )
    evaluation = serializers.DictField()
    rounds = serializers.ListField(child=serializers.DictField())


def shown(loop: Loop) -> dict[str, Any]:
    round_, took = current_round(loop), selectors.took(loop)
    body = {
        "id": loop.pk,
        "recipe": loop.recipe,
        "state": selectors.state_shown(loop),
        "round": round_.index if round_ is not None else None,
        "stage": round_.stage if round_ is not None else None,
        "n_rounds": loop.n_rounds,
        "seed": loop.seed,
        "failure_class": loop.failure_class,
        "error": loop.error,
        "foreseen_seconds": loop.foreseen_seconds,
        "took_seconds": took.seconds.actual if took is not None else None,
        "foreseen_memory_bytes": loop.foreseen_memory,
        "memory_bytes": took.memory.actual if took is not None and took.memory is not None else None,
        "evaluation": evaluation_of(loop),
        "rounds": selectors.loop_rows(loop),
    }
    return cast(dict[str, Any], LoopSerializer(body).data)


class LoopLineSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    recipe = serializers.CharField()
    state = serializers.CharField()
    n_rounds = serializers.IntegerField()
    seed = serializers.IntegerField()
    created_at = serializers.DateTimeField()


class Loops(APIView):
    """The latest loops of a project. POST starts a recipe; nothing is written unless everything it needs exists or can
    be made first.
    """

    class InputSerializer(BodySerializer):
        recipe = serializers.CharField(max_length=40)
        rounds = serializers.IntegerField(
            required=False, allow_null=True, default=None, min_value=1, max_value=MAX_ROUNDS
        )
        seed = serializers.IntegerField(required=False, default=0, min_value=0, max_value=MAX_SEED)
        start = serializers.CharField(required=False, allow_blank=True, default="", max_length=120)
        set = serializers.DictField(child=SettingField(), required=False, default=dict)

    @extend_schema(responses={200: LoopLineSerializer(many=True)})
    def get(self, request: Request, slug: str) -> Response:
        project = project_for(request.user, slug, Role.LEAD)
        rows = Loop.objects.filter(project=project).order_by("-id")[:LISTED]
        return Response(LoopLineSerializer(rows, many=True).data)

    @extend_schema(
        request=InputSerializer,
        responses={
            201: LoopSerializer,
            400: OpenApiResponse(
                description="Unknown recipe, bad setting, or something is missing; one line gives the reason."
            ),
        },
    )
    def post(self, request: Request, slug: str) -> Response:
        project = project_for(request.user, slug, Role.ENGINEER)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        loop = loop_start(
            project=project,
            recipe=values["recipe"],
            settings=values["set"],
            n_rounds=values["rounds"],
            seed=values["seed"],
            start=values["start"],
            started_by=cast(User, request.user),
        )
        return Response(shown(loop), status=status.HTTP_201_CREATED)


class Ingredient(APIView):
    """Start the loop that makes what a recipe needs, a reward model say, with that recipe's own settings."""

    @extend_schema(
        request=None,
        responses={201: LoopSerializer, 400: OpenApiResponse(description="It needs nothing that a loop could make.")},
    )
    def post(self, request: Request, slug: str, recipe: str) -> Response:
        project = project_for(request.user, slug, Role.ENGINEER)
        try:
            found = get_recipe(recipe)
        except UnknownRecipe as error:
            raise Http404 from error
        made = ingredient_start(project=project, recipe=found, started_by=cast(User, request.user))
        return Response(shown(made), status=status.HTTP_201_CREATED)


class LoopDetail(APIView):
    """The state of a loop, and the measurements of its finished rounds."""

    @extend_schema(responses={200: LoopSerializer})
    def get(self, request: Request, pk: int) -> Response:
        return Response(shown(access.loop_for_api(request.user, pk)))
