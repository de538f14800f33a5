"""What runs at the end of a batch, once. Test processes only."""

from __future__ import annotations

from qorworker.models import Batch, Job
from qorworker.testing import jobs
from qorworker.testing.contract.ground import Ground, lines_of


class Batches(Ground):
    """What runs at the end of a batch, once."""

    def enqueue(self, path: str, *, fails: bool = False) -> Batch:
        write = self.here(jobs.write)
        calls = [write.bind(path=path, text="job", number=number) for number in range(3)]
        if fails:
            calls.append(self.here(jobs.fail).bind(message="no such luck"))
        ends = {name: write.bind(path=path, text=name) for name in ("then", "otherwise")}
        return Batch.objects.enqueue("Batch", calls, **ends)

    def callback(self, batch: Batch, name: str) -> Job:
        return Job.objects.get(pk=getattr(batch, f"{name}_id"))

    def test_then_runs_once_all_jobs_of_a_batch_are_done(self, path: str) -> None:
        batch = self.enqueue(path)
        self.wait_for(self.callback(batch, "then"), "done")
        self.wait_for(self.callback(batch, "otherwise"), "cancelled")
        texts = [line.split()[-1] for line in lines_of(path)]
        assert (sorted(texts[:-1]), texts[-1]) == (["job"] * 3, "then")
        batch.refresh_from_db()
        assert (batch.outcome, batch.counts()) == ("done", {"done": 3})

    def test_otherwise_runs_once_if_one_of_them_has_failed(self, path: str) -> None:
        batch = self.enqueue(path, fails=True)
        self.wait_for(self.callback(batch, "otherwise"), "done")
        assert self.callback(batch, "then").status == "scheduled"
        texts = [line.split()[-1] for line in lines_of(path)]
        assert (sorted(texts[:-1]), texts[-1]) == (["job"] * 3, "otherwise")
        batch.refresh_from_db()
        assert (batch.outcome, batch.counts()) == ("failed", {"done": 3, "exception": 1})
