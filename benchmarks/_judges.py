"""What the studies with a simulated judge share: the judge, and a part of a study in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def ask(script: str, folder: Path, **request: Any) -> dict[str, Any]:
    """Do one part of a study (`script --part REQUEST`) in a process of its own, on the data of `folder`.

    Raises SystemExit where it fails.
    """
    environment = os.environ | {"PREFLOOP_VAR": str(folder), "DATABASE_URL": ""}
    done = subprocess.run(
        [sys.executable, script, "--part", json.dumps(request)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return dict(json.loads(done.stdout.splitlines()[-1]))


def judge_make(project: Any, name: str, criterion: str, biases: dict[str, float] | None = None) -> Any:
    """Make a simulated judge that is asked by one token's log-probs in both orders, on an endpoint of its own."""
    from apps.judging.services import judge_create
    from apps.policies.endpoints import SIMULATED_SCHEME, endpoint_create
    from apps.policies.models import Endpoint

    endpoint = endpoint_create(
        project=project, name=name, base_url=f"{SIMULATED_SCHEME}letters", model="simulated-judge", is_simulated=True
    )
    if biases is not None:
        Endpoint.objects.filter(pk=endpoint.pk).update(capabilities={"biases": biases})
    return judge_create(
        project=project,
        name=name,
        kind="llm",
        endpoint=endpoint,
        criterion=criterion,
        mode="logprob",
        order_policy="average",
        is_simulated=True,
    )
