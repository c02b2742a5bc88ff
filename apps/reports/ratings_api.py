"""The report on people's ratings, for programs."""

from __future__ import annotations

from typing import Any, cast

from django.core.paginator import Paginator
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.labels.models import Rating
from apps.projects.selectors import criterion_named
from apps.reports import access
from apps.reports import ratings as found_by
from apps.reports.reasons import guideline_named
from apps.samples.exposure import answers_shown, comparisons_between, shown
from prefloop.criteria import LONGEST_NAME

PAGE = 100
_MAX_SEED = 2**32 - 1
_WHERE = "api-ratings-report"


class RatingsReport(APIView):
    """What people's ratings say by each item of the rubric. With `list`: the ratings, or the pairs, behind a number."""

    class QuerySerializer(serializers.Serializer[Any]):
        guideline = serializers.CharField(
            required=False, allow_blank=True, default="", max_length=40, help_text="A version; left out: all of them."
        )
        criterion = serializers.CharField(
            required=False, allow_blank=True, default="", max_length=LONGEST_NAME, help_text="Of the votes on pairs."
        )
        seed = serializers.IntegerField(required=False, default=0, min_value=0, max_value=_MAX_SEED)
        list = serializers.ChoiceField(
            ["ratings", *found_by.PAIRS],
            required=False,
            allow_blank=True,
            default="",
            help_text="ratings: those by `item`. Else pairs: ratings and votes agree, or are against each other, the "
            "ratings are equal, or votes are tied.",
        )
        item = serializers.CharField(
            required=False, default=found_by.TOTAL, max_length=80, help_text="As `items` names it; left out: the total."
        )
        value = serializers.IntegerField(required=False, allow_null=True, default=None, min_value=0, max_value=5)
        # a field of this name hides an attribute that only nested serializers use
        source = serializers.CharField(  # type: ignore[assignment]
            required=False, allow_blank=True, allow_null=True, default=None, max_length=200, trim_whitespace=False
        )
        rater = serializers.CharField(required=False, allow_blank=True, default="", max_length=150)
        shared = serializers.BooleanField(
            required=False, default=False, help_text="Only of answers that two people or more have rated."
        )
        page = serializers.IntegerField(required=False, default=1, min_value=1)

    @extend_schema(parameters=[QuerySerializer], responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request, slug: str) -> Response:
        project = access.project_for_reports(request.user, slug)
        given = self.QuerySerializer(data=request.query_params)
        given.is_valid(raise_exception=True)
        values = cast(dict[str, Any], given.validated_data)
        asked = found_by.Asked(
            guideline=guideline_named(project, values["guideline"]),
            criterion=criterion_named(project, values["criterion"]),
        )
        body = found_by.report_of(project, asked, seed=values["seed"]) | {"list": [], "n_pages": 0}
        if values["list"]:
            listed, told, n_pages = _listed(found_by.Ratings(project, asked), values)
            pairs = {row["comparison"] for row in listed if "comparison" in row} | comparisons_between(told)
            shown(user_id=request.user.pk, comparison_ids=pairs, where=_WHERE)
            answers_shown(user_id=request.user.pk, answer_ids=told, where=_WHERE)
            body |= {"list": listed, "n_pages": n_pages}
        return Response(body)


def _listed(found: found_by.Ratings, values: dict[str, Any]) -> tuple[list[dict[str, Any]], set[int], int]:
    """A page of the list that was asked for, the answers that it tells of, and how many pages there are."""
    if values["list"] == "ratings":
        names = ("item", "value", "source", "rater", "shared")
        ids = Paginator(found.behind(found_by.Behind(**{name: values[name] for name in names})), PAGE)
        rows = found_by.ratings_shown(list(ids.get_page(values["page"])))
        return [_rating(row) for row in rows], {row.completion_id for row in rows}, ids.num_pages
    pairs = Paginator(found.pairs_behind(values["item"], values["list"]), PAGE)
    both = found_by.pairs_shown(list(pairs.get_page(values["page"])))
    listed = [{"comparison": row.pk, "mean_first": pair.first, "mean_second": pair.second} for pair, row in both]
    return listed, {answer for _pair, row in both for answer in (row.first_id, row.second_id)}, pairs.num_pages


def _rating(rating: Rating) -> dict[str, Any]:
    return {
        "rating": rating.pk,
        "completion": rating.completion_id,
        "source": rating.completion.model_name,
        "rater": rating.rater,
        "values": rating.values,
        "total": rating.total,
        "reason": rating.reason,
        "guideline": rating.guideline,
        "at": rating.at,
    }
