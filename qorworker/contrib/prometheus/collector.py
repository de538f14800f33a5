"""What Prometheus gets: gauges of queues, workers, outcomes and durations. Web, and the process of ``exportmetrics``.

Each collection takes a bounded number of statements and rows. A count of ``metrics.CAP + 1`` means: more than ``CAP``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from qorworker import metrics

STATES = ("queued", "scheduled", "paused", "running", "failed")


class JobsCollector(Collector):
    """Reads all figures anew at each collection, so it says the same in every process."""

    def collect(self) -> Iterable[Metric]:
        yield from _of_queues()
        yield from _of_workers()
        yield from _of_activity()
        yield from _of_types()

    def describe(self) -> Iterable[Metric]:
        return ()  # else registering it would query the database


def registry(collector: JobsCollector | None = None) -> CollectorRegistry:
    """Return a registry with these figures alone."""
    made = CollectorRegistry(auto_describe=False)
    made.register(collector or JobsCollector())
    return made


def _of_queues() -> Iterator[Metric]:
    jobs = GaugeMetricFamily("qorworker_jobs", "Jobs of a queue in a state.", labels=["queue", "state"])
    latency = GaugeMetricFamily(
        "qorworker_queue_latency_seconds",
        "How long the oldest job that could start has waited.",
        labels=["queue"],
    )
    workers = GaugeMetricFamily("qorworker_workers", "Living workers that serve a queue.", labels=["queue"])
    for name, queue in metrics.queues().items():
        for state in STATES:
            jobs.add_metric([name, state], getattr(queue, state))
        latency.add_metric([name], queue.latency.total_seconds())
        workers.add_metric([name], len(queue.workers))
    yield from (jobs, latency, workers)


def _of_workers() -> Iterator[Metric]:
    processes = GaugeMetricFamily(
        "qorworker_worker_slots", "Jobs that all living workers run, and could run besides.", labels=["state"]
    )
    workers = metrics.workers()
    processes.add_metric(["busy"], sum(len(each.jobs) for each in workers))
    processes.add_metric(["idle"], sum(each.idle for each in workers))
    yield processes


def _of_activity() -> Iterator[Metric]:
    ended = GaugeMetricFamily(
        "qorworker_attempts_ended", "Attempts that ended during the last five minutes.", labels=["queue", "outcome"]
    )
    waits = GaugeMetricFamily(
        "qorworker_wait_seconds", "How long jobs that ended lately had waited.", labels=["queue", "quantile"]
    )
    for name, lately in metrics.activity().items():
        for outcome, count in sorted(lately.outcomes.items()):
            ended.add_metric([name, outcome], count)
        _add_quantiles(waits, name, lately.waits)
    yield from (ended, waits)


def _of_types() -> Iterator[Metric]:
    durations = GaugeMetricFamily(
        "qorworker_duration_seconds", "How long the last successful runs took.", labels=["job_type", "quantile"]
    )
    for name, took in metrics.all_durations().items():
        _add_quantiles(durations, name, took)
    yield durations


def _add_quantiles(family: GaugeMetricFamily, name: str, durations: metrics.Durations | None) -> None:
    if durations is not None:
        family.add_metric([name, "0.5"], durations.median.total_seconds())
        family.add_metric([name, "0.95"], durations.p95.total_seconds())
