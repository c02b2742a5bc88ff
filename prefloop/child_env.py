"""The environment of child processes that load models of unknown origin."""

from __future__ import annotations

import re
from collections.abc import Mapping

# whole words of a variable's name, so that TOKENIZERS_PARALLELISM is none of them
_SECRET = re.compile(
    r"(^|_)(SECRETS?|(?:PG)?PASSWORDS?|PASSWD|PASSPHRASE|TOKENS?|KEYS?|CREDENTIALS?|AUTH|DSN|COOKIE)(_|$)|_URLS?(_FILE)?$",
    re.IGNORECASE,
)
# Nothing is fetched from a hub: what a model lacks is an error, not a download.
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}

OPERATOR_OFFLINE = "PREFLOOP_HUB_OFFLINE"  # what HF_HUB_OFFLINE was before the product switched its hubs off


def child_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the product's own secrets, and with every model hub switched off.

    Removed by name: secrets, keys, tokens, passwords, and addresses that may contain one (DATABASE_URL, a broker's).
    """
    return {name: value for name, value in env.items() if not _SECRET.search(name)} | OFFLINE


def hub_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return a child's environment for the one process that fetches from a model hub, and loads no model.

    It has the hub's token, and is offline only where whoever runs the product said so (`OPERATOR_OFFLINE`).
    """
    kept = {name: env[name] for name in ("HF_TOKEN", "HF_TOKEN_PATH") if name in env}
    offline = env.get(OPERATOR_OFFLINE, env.get("HF_HUB_OFFLINE", "0"))
    return child_environment(env) | kept | {"HF_HUB_OFFLINE": offline, "HF_HUB_DISABLE_TELEMETRY": "1"}
