"""An export as a download, for pages and programs: streamed line by line, never shown in a browser, and audited."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO

from django.http import StreamingHttpResponse

from apps.accounts.models import User
from apps.exchange import exports
from apps.exchange.files import KINDS, csv_lines
from apps.projects.models import Project


def file_name(project: Project, shape: str) -> str:
    return f"{project.slug}.{shape}.jsonl"


def export_response(
    *, project: Project, shape: str, labels: str, criterion: str, kind: str, reader: User
) -> StreamingHttpResponse:
    """Give an export to somebody, who is recorded as having seen its labels. Raises BadExport, NoSuchCriterion."""
    content: Iterable[bytes] | IO[bytes]
    if kind == "parquet":
        content = exports.export_zip(project=project, format=shape, labels=labels, criterion=criterion, reader=reader)
    else:
        wanted = exports.export_lines if shape == "records" else exports.export_some
        content = wanted(project=project, format=shape, labels=labels, criterion=criterion, reader=reader)
        content = csv_lines(content) if kind == "csv" and shape != "records" else content
    exports.export_audit(project=project, format=shape, labels=labels, criterion=criterion, actor=reader)
    kind = kind if kind in KINDS and shape != "records" else "jsonl"
    name = file_name(project, shape).removesuffix("jsonl") + ("zip" if kind == "parquet" else kind)
    response = StreamingHttpResponse(content, content_type=KINDS[kind])
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["X-Content-Type-Options"] = "nosniff"
    return response
