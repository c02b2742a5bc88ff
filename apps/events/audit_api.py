"""The audit log for programs."""

from __future__ import annotations

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.acts import AREAS
from apps.core.form_api import filled
from apps.core.models import AuditEvent
from apps.events import audit_log
from apps.events.audit_views import FilterForm

A_PAGE = 200
BAD = OpenApiResponse(description="A filter that can't be read.")


class EntrySerializer(serializers.ModelSerializer[AuditEvent]):
    at = serializers.DateTimeField(source="created_at")
    actor = serializers.CharField(source="actor.username", allow_null=True, default=None)
    project = serializers.CharField(source="project_slug")

    class Meta:
        model = AuditEvent
        fields = ("id", "at", "actor", "verb", "target", "project", "data", "address", "origin", "position", "seal")


_PARAMETERS = [
    OpenApiParameter("person", int, description="The id of who did it."),
    OpenApiParameter("area", str, enum=list(AREAS)),
    OpenApiParameter("since", str, description="A date: from its beginning on (UTC)."),
    OpenApiParameter("until", str, description="A date: up to its end (UTC)."),
    OpenApiParameter("before", int, description="Only entries with a smaller id: the next page."),
]


def _answer(request: Request, rows: QuerySet[AuditEvent]) -> Response:
    form = FilterForm(people=audit_log.people_in(rows))
    given = {name: value for name, value in request.query_params.items() if name in form.fields}
    filled(form, given)
    rows = audit_log.entries_wanted(rows, form.wanted())
    before = request.query_params.get("before", "")
    if before.isascii() and before.isdigit() and len(before) < 19:
        rows = rows.filter(pk__lt=int(before))
    return Response(EntrySerializer(rows[:A_PAGE], many=True).data)


class ProjectAudit(APIView):
    """The audit log of a project, the newest entries first, 200 at a time."""

    @extend_schema(parameters=_PARAMETERS, responses={200: EntrySerializer(many=True), 400: BAD})
    def get(self, request: Request, slug: str) -> Response:
        return _answer(request, audit_log.entries_of(audit_log.project_for_audit(request.user, slug)))


class InstallationAudit(APIView):
    """The audit log of the whole installation, for its operators."""

    @extend_schema(parameters=_PARAMETERS, responses={200: EntrySerializer(many=True), 400: BAD})
    def get(self, request: Request) -> Response:
        audit_log.operators_only(request.user)
        return _answer(request, audit_log.entries_of(None))
