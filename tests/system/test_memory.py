import pytest

from qorworker.system import memory

GIB = 1024**3


@pytest.mark.parametrize(
    ("peak", "likely"), [(GIB, True), (4 * GIB, True), (GIB - 1, False), (0, False), (None, False)]
)
def test_a_large_process_that_was_killed_was_probably_killed_for_its_size(monkeypatch, peak, likely):
    monkeypatch.setattr(memory, "total", lambda: 4 * GIB)
    assert memory.probably_ran_out(peak) is likely


def test_the_container_counts_if_it_has_less_than_the_machine(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    limit.write_text("1048576\n")
    monkeypatch.setattr(memory, "LIMITS", (str(tmp_path / "none"), str(limit)))
    assert memory.total.__wrapped__() == 1048576
    limit.write_text("max\n")
    assert memory.total.__wrapped__() > 1048576
