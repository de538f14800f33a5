"""``runworker``: wrong options are refused before anything starts."""

import pytest
from django.core.management import CommandError, call_command

from qorworker.models import Worker
from qorworker.system.processes import default_processes

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--queues", "default,nowhere"], "--queues: unknown queue nowhere."),
        (["--exclude-queues", "nowhere"], "--exclude-queues: unknown queue nowhere."),
        (["--processes", "0"], "--processes"),
        (["--processes", "-1"], "--processes"),
        (["--processes", "two"], "'two' is not a whole number of at least 1."),
        (["--max-jobs", "0"], "--max-jobs"),
        (["--grace", "-1"], "'-1' is not a number of seconds."),
        (["--grace", "nan"], "'nan' is not a number of seconds."),
        (["--grace", "inf"], "'inf' is not a number of seconds."),
        (["--grace", "soon"], "'soon' is not a number of seconds."),
        (["--unknown"], "--unknown"),
        (["default"], "default"),
    ],
)
def test_a_wrong_option_is_refused_by_name(options, told):
    with pytest.raises(CommandError) as error:
        call_command("runworker", *options)
    assert told in str(error.value)
    assert not Worker.objects.exists()


def test_there_is_at_least_one_process_by_default():
    assert default_processes() >= 1
