"""The contract for task backends is about the framework, not about us: others keep it too, where they can."""

from importlib.util import find_spec

import pytest
from django.core.management import call_command

from qorworker.testing.task_backends import TaskBackendContract
from tests.backends.test_tasks import OURS

FRAMEWORK = "django.tasks" if find_spec("django.tasks") else "django_tasks"


class TestImmediateBackendOfTheFramework(TaskBackendContract):
    alias = "now"

    @pytest.fixture
    def running(self, settings):
        path = f"{FRAMEWORK}.backends.immediate.ImmediateBackend"
        settings.TASKS = {"default": dict(OURS), "now": {"BACKEND": path, "QUEUES": ["default", "other"]}}


@pytest.mark.skipif(not find_spec("django_tasks_db"), reason="django-tasks-db is not installed")
class TestDjangoTasksDb(TaskBackendContract):
    @pytest.fixture
    def running(self, settings):
        path = "django_tasks_db.DatabaseBackend"
        settings.TASKS = {"default": {"BACKEND": path, "QUEUES": ["default", "other"]}}
        yield
        from django_tasks_db.models import DBTaskResult

        DBTaskResult.objects.all().delete()

    def drain(self):
        options = {"queue_name": "*", "batch": True, "backend": "default", "startup_delay": False, "interval": 0}
        call_command("db_worker", verbosity=0, reload=False, **options)

    def test_signals_tell_of_a_task(self):
        """What the contract finds: started and finished come from the backend itself, not from its class."""
        with pytest.raises(AssertionError, match="DatabaseBackend object"):
            super().test_signals_tell_of_a_task()
