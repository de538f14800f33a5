"""The Celery app of the tests; its broker is given in the environment."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.backends.celery_settings")


def app_on(broker: str, queue: str) -> Celery:
    made = Celery("tests", broker=broker, set_as_current=False)
    made.conf.update(
        task_default_queue=queue,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"global_keyprefix": f"{queue}."} if broker.startswith("redis") else {},
        beat_schedule={"tend": {"task": "qorworker.tend", "schedule": 1.0, "options": {"expires": 5}}},
    )
    return made


if broker := os.environ.get("QORWORKER_TEST_BROKER", ""):
    app = app_on(broker, os.environ["QORWORKER_TEST_BROKER_QUEUE"])
    app.set_default()
