from __future__ import annotations

from django.apps import AppConfig


class BenchJobsConfig(AppConfig):
    name = "benchmarks.benchjobs"

    def ready(self) -> None:
        from benchmarks.counting import start_if_wanted

        start_if_wanted()
