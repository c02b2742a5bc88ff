"""The import of a large file, and the fetching of a hub's data set, as jobs with progress."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from apps.exchange.fetching import FETCH, hub_fetch
from apps.exchange.lock import ImportBusy
from apps.exchange.models import Upload
from apps.exchange.services import import_file
from apps.exchange.uploads import MAX_RECORDS, upload_forget, upload_here, upload_mapping
from apps.jobs.registry import JobContext, JobFailure, handler
from prefloop.store import StoreUnavailable
from prefloop.types import PrefloopError


@handler("exchange.import", queue="cpu")
def run(ctx: JobContext) -> dict[str, Any] | None:
    """Import one upload. After a lost worker, its unfinished batch is removed and the file is read from the start."""
    upload = Upload.objects.filter(pk=ctx.payload["upload"]).select_related("project", "created_by").first()
    if upload is None:
        raise JobFailure("user_config", "the file was removed before it was imported")
    if upload.batch_id is not None:  # the worker was lost after the import and before it could say so
        return {"batch": upload.batch_id}

    def progress(step: int, n_steps: int, message: str) -> None:
        ctx.check()
        ctx.progress(step, n_steps, message)

    path = upload_here(upload)
    try:
        batch = import_file(
            project=upload.project,
            path=path,
            mapping=upload_mapping(upload),
            name=upload.name,
            created_by=upload.created_by,
            now=timezone.now(),
            progress=progress,
            in_transaction=ctx.fenced,
            max_records=MAX_RECORDS,
        )
    except ImportBusy as error:
        raise JobFailure("user_config", str(error), retry=True) from error
    except PrefloopError as error:
        raise JobFailure("data", str(error).replace(upload.token, upload.name)) from error
    Upload.objects.filter(pk=upload.pk).update(batch=batch)
    upload_forget(upload.token)
    return {"batch": batch.pk, "n_records": batch.n_records, "n_unchanged": batch.n_unchanged}


@handler(FETCH, queue="cpu")
def fetch(ctx: JobContext) -> dict[str, Any]:
    """Fetch a data set from its hub. After a lost worker it starts again; what lies in the hub's cache is kept."""
    upload = Upload.objects.filter(token=ctx.payload["token"]).select_related("project").first()
    if upload is None:
        raise JobFailure("user_config", "the waiting file was removed before it was fetched")
    if upload.n_bytes:  # the worker was lost after the fetching and before it could say so
        return {"upload": upload.pk}

    def told(done: int, total: int, what: str) -> None:
        ctx.check()
        ctx.progress(done, total, what)

    try:
        fetched = hub_fetch(upload=upload, address=str(ctx.payload["address"]), told=told, in_transaction=ctx.fenced)
    except StoreUnavailable:
        raise  # tried again, as of any job
    except PrefloopError as error:
        raise JobFailure("user_config", str(error)) from error
    return {"upload": upload.pk, "commit": fetched.commit, "config": fetched.config, "split": fetched.split}
