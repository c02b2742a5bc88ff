"""Celery's settings, with the reason of each. Imported by name from config/celery.py."""

from __future__ import annotations

from django.conf import settings
from kombu.entity import Queue

# Without a broker a worker talks to itself: a memory:// broker inside its process, fed from the Job table.
broker_url = settings.CELERY_BROKER_URL or "memory://localhost//"
broker_connection_retry_on_startup = True
broker_connection_timeout = 2
broker_transport_options: dict[str, object] = {"polling_interval": 0.1}
if broker_url.startswith("redis"):
    # a bell that comes twice is a no-op, so the visibility timeout only has to be stated, not long
    broker_transport_options = {"visibility_timeout": 3600, "socket_connect_timeout": 2, "socket_timeout": 30}
    visibility_timeout = 3600
elif broker_url.startswith(("amqp", "pyamqp")):
    broker_transport_options = {"confirm_publish": True}  # off by default: a publish could be lost silently

imports = ["workers.bells"]
# the table retries what is lost, so a bell is acknowledged at once and never redelivered by the broker
task_acks_late = False
task_reject_on_worker_lost = False
task_ignore_result = True
task_create_missing_queues = False
accept_content = ["json"]
task_serializer = "json"

queue_arguments = {"x-queue-type": "quorum"} if broker_url.startswith(("amqp", "pyamqp")) else {}
task_queues = [
    Queue(name, durable=True, queue_arguments=queue_arguments)  # type: ignore[no-untyped-call]
    for name in ("gpu", "cpu")
]
task_default_queue = "cpu"

worker_prefetch_multiplier = 1
worker_lost_wait = 1.0  # a child that is gone has no late result to wait 10 s for: results are in the database
worker_disable_prefetch = broker_url.startswith("redis")  # a bell must not wait behind an hour-long job
worker_cancel_long_running_tasks_on_connection_loss = False  # the lease is in the database, not in the connection
worker_hijack_root_logger = False
worker_redirect_stdouts = False
worker_send_task_events = False
worker_enable_remote_control = False
