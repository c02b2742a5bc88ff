"""The short reasons of votes, for programs."""

from __future__ import annotations

from typing import Any, cast

from django.core.paginator import Paginator
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.labels.models import Vote
from apps.projects.selectors import criterion_named
from apps.reports import access
from apps.reports import reasons as found_by
from apps.reports.marks import marks_of
from apps.samples.exposure import shown
from prefloop.criteria import LONGEST_NAME
from prefloop.reasons import LONGEST

PAGE = 100


class ReasonVoteSerializer(serializers.Serializer[Any]):
    vote = serializers.IntegerField(source="pk")
    comparison = serializers.IntegerField(source="comparison_id")
    rater = serializers.CharField()
    choice = serializers.CharField(help_text="first or second in the comparison's own order, or what was said of both.")
    reasons = serializers.SerializerMethodField()
    reason = serializers.CharField(allow_blank=True, help_text="The note.")
    guideline = serializers.CharField(allow_blank=True)
    at = serializers.DateTimeField(allow_null=True)
    ranking = serializers.IntegerField(
        source="ranking_id", allow_null=True, help_text="Of a set of answers: this vote is on one pair of it."
    )

    def get_reasons(self, vote: Vote) -> list[str]:
        return list(vote.reasons if vote.ranking is None else vote.ranking.reasons)


class ReasonSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField()
    n = serializers.IntegerField()
    said = serializers.DictField(
        child=serializers.IntegerField(),
        help_text="How often with each outcome; better: one of the two; ranking: with the ranking of a set.",
    )
    longer = serializers.DictField(
        allow_null=True, help_text="Of votes for one answer, the share for the longer one: rate, n, ci95."
    )


class MarkCountSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(allow_blank=True, help_text="Empty: marks without one; the last row, (all), is all.")
    good = serializers.IntegerField()
    bad = serializers.IntegerField()
    good_decided = serializers.IntegerField(help_text="Of those, in votes for one of the two answers.")
    good_in_chosen = serializers.IntegerField(help_text="Of those, in the answer that was chosen.")
    bad_decided = serializers.IntegerField()
    bad_in_chosen = serializers.IntegerField()


class MarksSerializer(serializers.Serializer[Any]):
    n_votes = serializers.IntegerField(help_text="Votes that mark a passage.")
    reasons = MarkCountSerializer(many=True)


class ReasonsReport(APIView):
    """How often each short reason was chosen, and with which outcome. With `reason`: the votes that have it."""

    class QuerySerializer(serializers.Serializer[Any]):
        criterion = serializers.CharField(required=False, allow_blank=True, default="", max_length=LONGEST_NAME)
        guideline = serializers.CharField(
            required=False, allow_blank=True, default="", max_length=40, help_text="A version; left out: all of them."
        )
        reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=LONGEST)
        said = serializers.ChoiceField(
            found_by.SAID, required=False, allow_blank=True, default="", help_text="Of `reason`'s votes, only these."
        )
        page = serializers.IntegerField(required=False, default=1, min_value=1)

    class OutputSerializer(serializers.Serializer[Any]):
        n_votes = serializers.IntegerField()
        n_with_reasons = serializers.IntegerField()
        said = serializers.DictField(child=serializers.IntegerField())
        reasons = ReasonSerializer(many=True)
        marks = MarksSerializer()
        votes = ReasonVoteSerializer(many=True, help_text="Of `reason`, the newest first, 100 a page.")
        n_pages = serializers.IntegerField()

    @extend_schema(parameters=[QuerySerializer], responses={200: OutputSerializer})
    def get(self, request: Request, slug: str) -> Response:
        project = access.project_for_reports(request.user, slug)
        given = self.QuerySerializer(data=request.query_params)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        asked = {
            "criterion": criterion_named(project, values["criterion"]),
            "guideline": found_by.guideline_named(project, values["guideline"]),
        }
        body = found_by.reasons_of(project, **asked).as_json() | {"votes": [], "n_pages": 0}
        body |= {"marks": marks_of(project, **asked).as_json()}
        if values["reason"]:
            ids = found_by.votes_with(project, reason=values["reason"], said=values["said"], **asked)
            pages = Paginator(ids, PAGE)
            votes = found_by.votes_shown(list(pages.get_page(values["page"])))
            shown(
                user_id=request.user.pk,
                comparison_ids=[vote.comparison_id for vote in votes],
                where="api-reasons",
            )
            body |= {"votes": votes, "n_pages": pages.num_pages}
        return Response(self.OutputSerializer(body).data)
