"""Sampling runs for programs: the list, one, starting one, and comparisons from its answers."""

from __future__ import annotations

from typing import Any, cast

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import User
from apps.core.api import BodySerializer
from apps.policies.selectors import checkpoint_by_name, endpoint_by_name
from apps.projects.access import project_for
from apps.projects.models import Role
from apps.prompts.selectors import prompt_list, prompt_set_by_name
from apps.samples import selectors, services
from apps.samples.access import sampling_run_for_read, sampling_run_for_write
from apps.samples.models import SamplingRun
from apps.samples.pairs import MOST_PER_PROMPT, comparisons_from_answers, comparisons_from_run

LISTED = 200
BAD = OpenApiResponse(description="One line says why nothing was made.")


class RunSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField(source="run.pk")
    purpose = serializers.CharField(source="run.purpose")
    engine = serializers.CharField(source="run.engine")
    checkpoint = serializers.CharField(source="run.checkpoint.name", allow_null=True, default=None)
    endpoint = serializers.CharField(source="run.endpoint.name", allow_null=True, default=None)
    n_wanted = serializers.IntegerField(help_text="Answers.")
    n_done = serializers.IntegerField()
    state = serializers.CharField(source="progress.state")
    created_at = serializers.DateTimeField(source="run.created_at")


class Runs(APIView):
    """The latest sampling runs of a project. POST starts one: a checkpoint or an endpoint answers a set's prompts."""

    class InputSerializer(BodySerializer):
        prompt_set = serializers.CharField(max_length=120)
        split = serializers.ChoiceField(choices=("train", "eval"), required=False, default="")
        checkpoint = serializers.CharField(
            max_length=120, required=False, allow_blank=True, default="", help_text="A policy's name."
        )
        endpoint = serializers.CharField(
            max_length=120, required=False, allow_blank=True, default="", help_text="Or an endpoint's."
        )
        engine = serializers.ChoiceField(choices=("auto", "transformers", "vllm"), required=False, default="")
        api = serializers.ChoiceField(
            choices=services.APIS, required=False, default="", help_text="How an endpoint is asked."
        )
        n = serializers.IntegerField(required=False, default=4, help_text="Answers to each prompt.")
        temperature = serializers.FloatField(required=False, default=1.0)
        top_p = serializers.FloatField(required=False, default=1.0)
        top_k = serializers.IntegerField(required=False, default=0, help_text="0: all.")
        max_tokens = serializers.IntegerField(required=False, default=128)
        seed = serializers.IntegerField(required=False, default=0, min_value=0, max_value=2**62)

    @extend_schema(responses={200: RunSerializer(many=True)})
    def get(self, request: Request, slug: str) -> Response:
        project = project_for(request.user, slug, Role.LEAD)
        rows = selectors.run_rows(list(selectors.sampling_run_list(project)[:LISTED]))
        return Response(RunSerializer(rows, many=True).data)

    @extend_schema(request=InputSerializer, responses={201: RunSerializer, 400: BAD})
    def post(self, request: Request, slug: str) -> Response:
        project = project_for(request.user, slug, Role.ENGINEER)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        checkpoint, endpoint, split = values.pop("checkpoint"), values.pop("endpoint"), values.pop("split")
        if bool(checkpoint) == bool(endpoint):
            raise services.BadSampling("name a checkpoint or an endpoint, one of them")
        prompt_set = prompt_set_by_name(project, values.pop("prompt_set"))
        ids = list(prompt_list(project, set_name=prompt_set.name, split=split).values_list("id", flat=True))
        run = services.sampling_run_create(
            project=project,
            prompt_set=prompt_set,
            prompt_ids=ids,
            checkpoint=checkpoint_by_name(project, checkpoint, role="policy") if checkpoint else None,
            endpoint=endpoint_by_name(project, endpoint) if endpoint else None,
            started_by=cast(User, request.user),
            **values,
        )
        return Response(_shown(run), status=status.HTTP_201_CREATED)


class Run(APIView):
    """One sampling run and how far it is."""

    @extend_schema(responses={200: RunSerializer})
    def get(self, request: Request, slug: str, pk: int) -> Response:
        return Response(_shown(sampling_run_for_read(request.user, slug, pk)))


class MadeSerializer(serializers.Serializer[Any]):
    n_new = serializers.IntegerField()
    n_there = serializers.IntegerField(help_text="Pairs that were comparisons already.")
    n_same = serializers.IntegerField(help_text="Left out, because both answers are the same.")


class AllComparisons(APIView):
    """Make comparisons from all answers of the project, random pairs of each prompt."""

    class InputSerializer(BodySerializer):
        per_prompt = serializers.IntegerField(required=False, default=1, min_value=1, max_value=MOST_PER_PROMPT)
        seed = serializers.IntegerField(required=False, default=0, min_value=0, max_value=2**62)

    @extend_schema(request=InputSerializer, responses={201: MadeSerializer, 400: BAD})
    def post(self, request: Request, slug: str) -> Response:
        project = project_for(request.user, slug, Role.ENGINEER)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        made = comparisons_from_answers(project=project, **cast(dict[str, Any], given.validated_data))
        return Response(MadeSerializer(made).data, status=status.HTTP_201_CREATED)


class RunComparisons(APIView):
    """Make comparisons from a run's answers, for judges and people."""

    class InputSerializer(BodySerializer):
        pairing = serializers.ChoiceField(
            choices=("two", "random", "all"),
            required=False,
            default="two",
            help_text="The first two answers of each prompt, random pairs, or all pairs up to `per_prompt`.",
        )
        per_prompt = serializers.IntegerField(required=False, default=1, min_value=1, max_value=MOST_PER_PROMPT)
        seed = serializers.IntegerField(required=False, default=0, min_value=0, max_value=2**62)

    @extend_schema(request=InputSerializer, responses={201: MadeSerializer, 400: BAD})
    def post(self, request: Request, slug: str, pk: int) -> Response:
        run = sampling_run_for_write(request.user, slug, pk)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        made = comparisons_from_run(run=run, **cast(dict[str, Any], given.validated_data))
        return Response(MadeSerializer(made).data, status=status.HTTP_201_CREATED)


def _shown(run: SamplingRun) -> dict[str, Any]:
    (row,) = selectors.run_rows(list(selectors.sampling_run_list(run.project).filter(pk=run.pk)))
    return cast(dict[str, Any], RunSerializer(row).data)
