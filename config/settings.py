"""Every setting, in one file; .env.example lists the variables. A malformed value stops the start."""

from __future__ import annotations

import os
import shlex
import sys
from datetime import timedelta
from pathlib import Path

import structlog
from csp.constants import NONE, SELF

from config import env
from prefloop.executors import EXECUTORS
from prefloop.recipes.runspec import PRECISIONS, SHARDING
from prefloop.stats.alarms import KL_BUDGET

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(env.env_str("PREFLOOP_VAR", str(BASE_DIR / "var"))).resolve()
VAR_DIR.mkdir(parents=True, exist_ok=True, mode=0o700)

DEBUG = env.env_bool("DEBUG", False)
# Where checkpoints, training sets, runs and uploads are kept: in a directory (None: VAR_DIR), or behind a URL that
# several machines share, of which STORE_DIR is a cache then.
STORE_HOME, STORE_URL = env.store()
SECRET_KEY = env.secret_key(VAR_DIR, shared=STORE_URL)
# Earlier keys, after a change: sessions, links, secrets and the seals of the audit log that they made stay good.
SECRET_KEY_FALLBACKS = env.env_list("SECRET_KEY_FALLBACKS")
ALLOWED_HOSTS = env.env_list("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]")
CSRF_TRUSTED_ORIGINS = env.env_list("CSRF_TRUSTED_ORIGINS")
BASE_URL_FILE = VAR_DIR / "base-url"  # where `up` says at which address it listens
BASE_URL = env.base_url(BASE_URL_FILE)
HTTPS = BASE_URL.startswith("https://")
# Addresses of reverse proxies that are believed about their client's address and scheme; nobody else is.
TRUSTED_PROXIES = env.networks("PREFLOOP_TRUSTED_PROXIES")

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "rest_framework",
    "knox",
    "drf_spectacular",
    "csp",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "apps.core",
    "apps.accounts",
    "apps.projects",
    "apps.quotas",
    "apps.jobs",
    "apps.events",
    "apps.prompts",
    "apps.policies",
    "apps.samples",
    "apps.labels",
    "apps.judging",
    "apps.rankings",
    "apps.ratings",
    "apps.exchange",
    "apps.training",
    "apps.reports",
    "apps.removal",
    "apps.dashboard",
    "workers",
]

MIDDLEWARE = [
    "apps.core.middleware.trusted_proxies_only",  # first: nothing may read what a stranger wrote
    "apps.core.timing.request_timing",
    "django.middleware.security.SecurityMiddleware",
    # above WhiteNoise, so that static files carry the headers too
    "csp.middleware.CSPMiddleware",
    "apps.core.middleware.security_headers",
    # before whatever reads a body, the CSRF check among them
    "apps.core.middleware.BodyLimit",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "apps.accounts.middleware.origin_of_request",
    "apps.accounts.middleware.language_of_person",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "apps.projects.second_factor.SecondFactorFirst",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {
            "loaders": [
                ("django.template.loaders.cached.Loader", ["django.template.loaders.filesystem.Loader"]),
            ]
            if not DEBUG
            else ["django.template.loaders.filesystem.Loader"],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "apps.core.context_processors.shell",
            ],
            "builtins": ["apps.core.templatetags.ui"],
        },
    }
]

DATABASES = {"default": env.database(env.env_str("DATABASE_URL"), VAR_DIR)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ATOMIC_REQUESTS = False

AUTH_USER_MODEL = "accounts.User"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.ScryptPasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "accounts:login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "accounts:login"

# Allauth has the flows and tables of sign-in; whom it lets in, and its forms' words, are in apps/accounts.
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if HTTPS else "http"
ACCOUNT_ADAPTER = "apps.accounts.adapters.AccountAdapter"
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_FORMS = {"reauthenticate": "apps.accounts.factor_forms.ConfirmPasswordForm"}
ACCOUNT_REAUTHENTICATION_METHODS = ["password", "mfa"]  # no code by mail, which nobody need have
# as throttle.py has it for passwords: ten failures in a quarter of an hour
ACCOUNT_RATE_LIMITS = {"login_failed": "10/15m/key", "reauthenticate": "20/15m/user"}
OIDC = env.oidc()  # the identity provider of single sign-on; {}: there is none
SOCIALACCOUNT_ADAPTER = "apps.accounts.sso.SingleSignOn"
SOCIALACCOUNT_LOGIN_ON_GET = True  # the CSP lets no form lead to another site; the view asks where the click came from
MFA_ADAPTER = "apps.accounts.adapters.SecondFactorAdapter"
MFA_FORMS = {
    "authenticate": "apps.accounts.factor_forms.SignInCodeForm",
    "reauthenticate": "apps.accounts.factor_forms.ConfirmCodeForm",
    "activate_totp": "apps.accounts.factor_forms.AppCodeForm",
    "add_webauthn": "apps.accounts.factor_forms.NewPasskeyForm",
    "edit_webauthn": "apps.accounts.factor_forms.PasskeyNameForm",
}
MFA_RATE_LIMITS = {"webauthn_login": ""}  # nothing there can be guessed, and many people may have one address
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_ALLOW_UNVERIFIED_EMAIL = True  # nobody signs up with an address of somebody else
MFA_REQUIRED = env.env_choice("PREFLOOP_MFA_REQUIRED", ("nobody", "owners", "everybody"))
MFA_TOTP_TOLERANCE = 1  # a clock may be half a minute off, and a code is typed slowly

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = HTTPS
SESSION_COOKIE_AGE = 14 * 24 * 3600
CSRF_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
if TRUSTED_PROXIES:  # the middleware below lets the header through from those addresses alone
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_HSTS_SECONDS = 31536000 if HTTPS else 0
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "manifest-src": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "object-src": [NONE],
    }
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("ko", "한국어"), ("ja", "日本語")]  # each as it calls itself
LOCALE_PATHS = [BASE_DIR / "locale"]
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = VAR_DIR / "staticfiles"
STATIC_ROOT.mkdir(exist_ok=True)  # WhiteNoise warns of a missing one
# Served straight from static/ with finders: no collectstatic step to forget on a first start.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
STORE_DIR = (STORE_HOME or VAR_DIR) / "store"  # checkpoints, snapshots, run directories
STORE_CACHE_GB = env.env_int("PREFLOOP_STORE_CACHE_GB", 100, minimum=0)  # of a store behind a URL, kept on this machine
# Where model directories may be imported from by the page: what a browser names is looked for here and nowhere else.
# IMPORT_DIRS are the operator's (admin accounts); a project has what is given to it, and DIR/projects/SLUG of each.
IMPORT_DIRS, PROJECT_IMPORT_DIRS = env.import_dirs(
    (STORE_HOME or VAR_DIR) / "imports", env.env_list("PREFLOOP_IMPORT_DIRS")
)
# Who may make projects on the page (whoever makes one owns it, its compute included): "admins" or "everyone".
PROJECT_CREATORS = env.env_choice("PREFLOOP_PROJECT_CREATORS", ("admins", "everyone"))

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["knox.auth.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["apps.accounts.permissions.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["apps.core.parsers.BodyParser"],
    "DEFAULT_SCHEMA_CLASS": "apps.accounts.schema.ScopedSchema",
    "EXCEPTION_HANDLER": "apps.core.api.exception_handler",
}
TOKEN_LIFETIME = timedelta(days=90)  # of an API token, unless another is chosen when it is made
REST_KNOX = {"TOKEN_TTL": TOKEN_LIFETIME, "AUTH_HEADER_PREFIX": "Token", "TOKEN_LIMIT_PER_USER": None}
SPECTACULAR_SETTINGS = {
    "TITLE": "prefloop",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": None,
}

# The Job row is the queue of record; a broker only shortens the wait (docs: ARCHITECTURE.md, "Jobs").
# Empty: every worker has a memory:// broker of its own, fed from the table.
CELERY_BROKER_URL = env.env_str("CELERY_BROKER_URL")
JOB_LEASE_SECONDS = env.env_int("PREFLOOP_JOB_LEASE_SECONDS", 90)  # a worker beats every sixth of it
METRICS_TOKEN = env.env_str("PREFLOOP_METRICS_TOKEN")  # who brings it may read /metrics; empty: nobody
# Limits of every project and person to which an administrator gave no other (apps/quotas/kinds.py has the names).
PROJECT_QUOTAS = env.quotas("PREFLOOP_PROJECT_QUOTAS", {"uploads": 2048, "models": 20})
PERSON_QUOTAS = env.quotas("PREFLOOP_PERSON_QUOTAS", {})
env.no_longer(
    PREFLOOP_PROJECT_JOBS="PREFLOOP_PROJECT_QUOTAS=running=…",
    PREFLOOP_UPLOAD_QUOTA_MB="PREFLOOP_PROJECT_QUOTAS=uploads=…",
    PREFLOOP_MODEL_UPLOAD_GB="PREFLOOP_PROJECT_QUOTAS=models=…",
)
WORKER_GRACE_SECONDS = env.env_int("PREFLOOP_WORKER_GRACE_SECONDS", 30)  # for a running job to checkpoint and leave
JOB_MODULES = env.env_list("PREFLOOP_JOB_MODULES")  # modules of one's own that register job handlers
ENDPOINT_ALLOW = env.env_list("PREFLOOP_ENDPOINT_ALLOW")
VLLM_PYTHON = env.vllm_python(BASE_DIR)  # "": no vLLM here
VLLM_ARGUMENTS = shlex.split(env.env_str("PREFLOOP_VLLM_ARGS"))
VLLM_IDLE_SECONDS = env.env_int("PREFLOOP_VLLM_IDLE_SECONDS", 300)  # then a server that nobody asks is stopped
# What reading a stranger's file may take, in a process of its own; a large file may take more (docs/operating.md).
READER_MEMORY_MB = env.env_int("PREFLOOP_READER_MEMORY_MB", 1024, minimum=64)
READER_SECONDS = env.env_int("PREFLOOP_READER_SECONDS", 10, minimum=1)  # of processor time
# One core stays free for the web and the other worker: threads that wait for each other on busy cores are far slower
# than one thread alone. Part of what makes a run repeatable.
WORKER_THREADS = env.env_int("PREFLOOP_THREADS", max(1, (os.cpu_count() or 1) - 1))
# Processes that share a training step on one machine (one a GPU), the answers to draw and the rows to learn from.
TRAINING_PROCESSES = env.env_int("PREFLOOP_PROCESSES", 1, minimum=1)
TRAINING_SHARD = env.env_choice("PREFLOOP_SHARD", SHARDING)  # whether they share the weights too
EXECUTOR = env.env_choice("PREFLOOP_EXECUTOR", tuple(EXECUTORS))  # where the process of a training run runs
# What a run asks a cluster for, beside cores (PREFLOOP_THREADS) and memory: cards for each of its processes.
CARDS = env.env_int("PREFLOOP_CARDS", 1, minimum=0)
NODE_PYTHON = env.env_str("PREFLOOP_NODE_PYTHON")  # the interpreter on a cluster's nodes; "": the same as here
SLURM_CLUSTER, SLURM_OPTIONS = env.slurm()  # what submitit is told beside
RAY_ADDRESS = env.http_url("PREFLOOP_RAY_ADDRESS", "http://127.0.0.1:8265")  # of its job server
RAY_DASHBOARD = env.http_url("PREFLOOP_RAY_DASHBOARD", RAY_ADDRESS)  # as people's browsers reach it
RAY_ENGINES = env.env_int("PREFLOOP_RAY_ENGINES", 8, minimum=1)  # at most so many answer the questions of one job
BULK_FROM = env.env_int("PREFLOOP_BULK_FROM", 2048, minimum=512)  # questions of a run from which on it goes to them
# Of the weights that compute: auto is bf16 on a GPU, and for models of 50M parameters or more on a CPU that was
# measured to be faster in it; else fp32. float64 repeats the same answers anywhere.
PRECISION = env.env_choice("PREFLOOP_PRECISION", PRECISIONS)
KL_ALARM_NATS = env.env_float("PREFLOOP_KL_ALARM", KL_BUDGET, above=0.0)  # from the start, in nats

# Notifications by mail: nothing is sent without a server.
EMAIL_HOST = env.env_str("EMAIL_HOST")
EMAIL_PORT = env.env_int("EMAIL_PORT", 587)
EMAIL_HOST_USER = env.env_str("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = env.env_str("EMAIL_HOST_PASSWORD")
EMAIL_USE_TLS = env.env_bool("EMAIL_USE_TLS", True)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.env_str("DEFAULT_FROM_EMAIL", "prefloop@localhost")

# Failed sign-ins are counted in the default one: it must not be full of other names before they are over. What pages
# calculate is in the other (apps/core/kept_figures.py).
_MEMORY = "django.core.cache.backends.locmem.LocMemCache"
CACHES: dict[str, dict[str, object]] = {
    "default": {"BACKEND": _MEMORY, "LOCATION": "counts", "OPTIONS": {"MAX_ENTRIES": 100_000}},
    "figures": {"BACKEND": _MEMORY, "LOCATION": "figures"},
}
if env.env_str("REDIS_URL"):
    _redis: dict[str, object] = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": env.env_str("REDIS_URL"),
    }
    CACHES = {"default": _redis, "figures": {**_redis, "KEY_PREFIX": "figures"}}

structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.dict_tracebacks,
        structlog.processors.JSONRenderer()
        if env.env_bool("LOG_JSON", not DEBUG)
        else structlog.dev.ConsoleRenderer(colors=False),
    ],
    logger_factory=structlog.PrintLoggerFactory(sys.stderr),  # what a command prints is its answer alone
    cache_logger_on_first_use=True,
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": env.env_str("LOG_LEVEL", "WARNING")},
}
