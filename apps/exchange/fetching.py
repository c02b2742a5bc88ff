"""A data set that a hub has, fetched by a job and kept as a waiting file: previewed and imported like an upload."""

from __future__ import annotations

import os
import secrets
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from django.db import transaction

from apps.accounts.models import User
from apps.core.store import uploads
from apps.exchange.models import Upload
from apps.exchange.services import Transaction
from apps.exchange.uploads import room_for_file, upload_forget, upload_path
from apps.jobs.models import Turn
from apps.jobs.services import job_enqueue
from apps.projects.models import Project
from apps.quotas.services import QuotaReached, room
from prefloop.hub_data import Fetched, HubData, Told, read_address

FETCH = "exchange.fetch"


def hub_fetch_start(*, project: Project, address: str, started_by: User) -> Upload:
    """Start the job that fetches a data set. Raises NoData for an address that can't be one, and QuotaReached."""
    data = read_address(address)
    room("uploads", project_id=project.pk, person_id=started_by.pk)
    token = secrets.token_urlsafe(24) + ".zip"
    with transaction.atomic():
        job = job_enqueue(
            kind=FETCH,
            turn=Turn.PERSON,
            queue="cpu",
            payload={"address": data.address, "token": token},
            project=project,
            title=f"Fetch {data.address}",
            started_by=started_by,
        )
        return Upload.objects.create(
            project=project,
            created_by=started_by,
            token=token,
            name=data.address[:200],
            n_bytes=0,
            job=job,
        )


def hub_fetch(*, upload: Upload, address: str, told: Told, in_transaction: Transaction = transaction.atomic) -> Fetched:
    """Fetch a data set into a waiting file. Raises NoData and QuotaReached; the file is whole or not there.

    `in_transaction` opens the transaction; a worker passes one with its fencing token.
    """
    data = read_address(address)
    path = upload_path(upload)
    project, by = upload.project, upload.created_by_id
    left = room("uploads", project_id=project.pk, person_id=by)
    with TemporaryDirectory(prefix="prefloop-hub-", dir=path.parent) as folder:
        inside = Path(folder) / "files"
        inside.mkdir()
        fetched = data.fetch(inside, told=told, most_bytes=sys.maxsize if left is None else left)
        packed = Path(folder) / "packed.zip"
        with os.fdopen(os.open(packed, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for part in sorted(inside.iterdir()):
                    archive.write(part, part.name)
            n_bytes = file.tell()
        with in_transaction():  # a worker that has lost the job puts nothing there: the file may be imported, and gone
            room_for_file(project, by, n_bytes)
        packed.replace(path)
        uploads().push(upload.token)  # before the row says that it is there
        with in_transaction():
            try:
                room_for_file(project, by, n_bytes)  # other files may have come in meanwhile
            except QuotaReached:
                upload_forget(upload.token)
                raise
            Upload.objects.filter(pk=upload.pk).update(name=name_of(data, fetched), n_bytes=n_bytes, job=None)
    return fetched


def name_of(data: HubData, fetched: Fetched) -> str:
    """Name what was fetched by its commit, so that an import says where its records came from."""
    return f"hf:{data.repository}@{fetched.commit}:{fetched.config}:{fetched.split}"[:200]
