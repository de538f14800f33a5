"""When a fork server counts as silent, and when as hopeless."""

import pytest

from qorworker.worker.parent.liveness import HOPELESS, SILENT, Liveness


class TestThePulse:
    @pytest.fixture
    def pings(self):
        return []

    @pytest.fixture
    def liveness(self, pings):
        return Liveness(lambda: pings.append(True))

    def test_it_is_silent_after_some_questions_and_not_before(self, liveness, pings):
        for second in range(SILENT):
            assert not liveness.is_silent
            liveness.ping_if_due(float(second))
        liveness.ping_if_due(float(SILENT))
        assert (liveness.is_silent, liveness.is_hopeless) == (True, False)
        assert pings == [True]

    def test_an_answer_makes_it_well(self, liveness):
        for second in range(HOPELESS + 1):
            liveness.ping_if_due(float(second))
        assert liveness.is_hopeless
        liveness.note_answer()
        assert not liveness.is_silent

    def test_time_in_which_this_process_slept_does_not_count(self, liveness):
        liveness.ping_if_due(0.0)
        liveness.ping_if_due(3600.0)
        assert not liveness.is_silent
