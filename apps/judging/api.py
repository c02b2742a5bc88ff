"""Asking judges by program, what people corrected, and alignments on it."""

from __future__ import annotations

from typing import Any, cast

from django.http import Http404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import User
from apps.core.api import BodySerializer
from apps.judging import alignment as services
from apps.judging.access import alignment_for, judge_for_read, judge_for_write
from apps.judging.models import Alignment
from apps.judging.services import MAX_SEED, judge_ask, judge_retry, judging_run_enqueue
from apps.labels.models import JudgingRun
from apps.projects.models import Role
from apps.samples import exposure
from prefloop.judging.examples import MOST_EXAMPLES
from prefloop.types import OUTCOMES

LISTED = 200
BAD = OpenApiResponse(description="One line says why.")


class JudgingRunSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    purpose = serializers.CharField()
    n_comparisons = serializers.SerializerMethodField()
    jobs_open = serializers.IntegerField(source="group.open_count", default=0)
    created_at = serializers.DateTimeField()

    def get_n_comparisons(self, row: JudgingRun) -> int:
        return row.n_comparisons


class JudgingRuns(APIView):
    """The latest runs of a judge. POST asks it about comparisons that it has not judged, all or a sample."""

    class InputSerializer(BodySerializer):
        split = serializers.ChoiceField(
            choices=("train", "eval"), required=False, default="", help_text="Left out: comparisons of all prompts."
        )
        n = serializers.IntegerField(
            required=False,
            allow_null=True,
            default=None,
            min_value=1,
            max_value=1_000_000,
            help_text="A random sample.",
        )
        seed = serializers.IntegerField(required=False, default=0, min_value=0, max_value=MAX_SEED)

    @extend_schema(responses={200: JudgingRunSerializer(many=True)})
    def get(self, request: Request, slug: str, pk: int) -> Response:
        judge = judge_for_read(request.user, slug, pk)
        rows = JudgingRun.objects.filter(judge=judge).select_related("group").order_by("-id")[:LISTED]
        return Response(JudgingRunSerializer(rows, many=True).data)

    @extend_schema(request=InputSerializer, responses={201: JudgingRunSerializer, 400: BAD})
    def post(self, request: Request, slug: str, pk: int) -> Response:
        judge = judge_for_write(request.user, slug, pk)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        made = judge_ask(judge=judge, started_by=cast(User, request.user), **values)
        return Response(JudgingRunSerializer(made).data, status=status.HTTP_201_CREATED)


class JudgingRetry(APIView):
    """Ask a judge again about the comparisons in which it gave only errors and unreadable replies."""

    @extend_schema(request=None, responses={201: JudgingRunSerializer, 400: BAD})
    def post(self, request: Request, slug: str, pk: int) -> Response:
        judge = judge_for_write(request.user, slug, pk)
        made = judge_retry(judge=judge, started_by=cast(User, request.user))
        return Response(JudgingRunSerializer(made).data, status=status.HTTP_201_CREATED)


class JudgingContinue(APIView):
    """Continue an interrupted run: its verdicts stay, and only the rest is asked."""

    @extend_schema(request=None, responses={200: JudgingRunSerializer, 400: BAD})
    def post(self, request: Request, slug: str, pk: int, run: int) -> Response:
        row = judge_for_write(request.user, slug, pk).runs.select_related("judge", "project").filter(pk=run).first()
        if row is None:
            raise Http404
        judging_run_enqueue(run=row)
        return Response(JudgingRunSerializer(row).data)


class Corrections(APIView):
    """The pairs on which people corrected a judge, and that it may be shown; the latest first."""

    class OutputSerializer(serializers.Serializer[Any]):
        comparison = serializers.IntegerField(source="comparison.pk")
        judge_outcome = serializers.CharField(source="override.judge_outcome", allow_blank=True)
        choice = serializers.ChoiceField(source="override.choice", choices=OUTCOMES)
        reason = serializers.CharField(source="override.reason", allow_blank=True)

    @extend_schema(responses={200: OutputSerializer(many=True)})
    def get(self, request: Request, slug: str, pk: int) -> Response:
        found = services.corrections(judge_for_read(request.user, slug, pk))
        ids = [one.comparison.pk for one in found]
        exposure.shown(user_id=request.user.pk, comparison_ids=ids, where="api-corrections")
        return Response(self.OutputSerializer(found, many=True).data)


class AlignmentSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    judge = serializers.IntegerField(source="judge_id")
    criterion = serializers.CharField()
    n_examples = serializers.SerializerMethodField()
    n_pairs = serializers.SerializerMethodField()
    figures = serializers.DictField(
        help_text="Empty until it was tried: before, after, difference and their ci95, n, n_prompts, …"
    )
    made = serializers.IntegerField(source="made_id", allow_null=True, help_text="The version that it became.")

    def get_n_examples(self, row: Alignment) -> int:
        return len(row.examples)

    def get_n_pairs(self, row: Alignment) -> int:
        return len(row.pairs)


class Alignments(APIView):
    """Trials of aligned versions of a judge. POST tries one beside the present version, in both orders."""

    class InputSerializer(BodySerializer):
        comparisons = serializers.ListField(
            child=serializers.IntegerField(min_value=1),
            required=False,
            default=list,
            max_length=MOST_EXAMPLES,
            help_text="Corrected pairs that the new version is shown.",
        )
        criterion = serializers.CharField(
            required=False, allow_blank=True, default="", max_length=8000, help_text="Left out: that of the judge."
        )
        n = serializers.IntegerField(
            required=False, default=services.USUAL_PAIRS, min_value=1, max_value=services.MOST_PAIRS
        )
        seed = serializers.IntegerField(required=False, default=0, min_value=0)

    @extend_schema(responses={200: AlignmentSerializer(many=True)})
    def get(self, request: Request, slug: str, pk: int) -> Response:
        rows = judge_for_read(request.user, slug, pk).alignments.order_by("-id")
        return Response(AlignmentSerializer(rows, many=True).data)

    @extend_schema(request=InputSerializer, responses={201: AlignmentSerializer, 400: BAD})
    def post(self, request: Request, slug: str, pk: int) -> Response:
        judge = judge_for_write(request.user, slug, pk)
        given = self.InputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        made = services.alignment_start(
            judge=judge,
            comparison_ids=values["comparisons"],
            criterion=values["criterion"] or judge.criterion,
            n=values["n"],
            seed=values["seed"],
            started_by=cast(User, request.user),
        )
        return Response(AlignmentSerializer(made).data, status=status.HTTP_201_CREATED)


class AlignmentDetail(APIView):
    """One trial of an aligned version, with its figures once it was tried."""

    @extend_schema(responses={200: AlignmentSerializer})
    def get(self, request: Request, slug: str, pk: int) -> Response:
        return Response(AlignmentSerializer(alignment_for(request.user, slug, pk, Role.LEAD)).data)


class AlignmentUse(APIView):
    """Make the version that was tried the judge's next version."""

    @extend_schema(
        request=None,
        responses={
            200: AlignmentSerializer,
            400: BAD,
            409: OpenApiResponse(description="It is used already, or the judge has a newer version."),
        },
    )
    def post(self, request: Request, slug: str, pk: int) -> Response:
        found = alignment_for(request.user, slug, pk, Role.ENGINEER)
        found.made = services.alignment_adopt(alignment=found)
        return Response(AlignmentSerializer(found).data)
