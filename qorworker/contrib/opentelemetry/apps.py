"""The app that has jobs carry their trace. All processes."""

from django.apps import AppConfig

from qorworker.signals import jobs_made


class OpenTelemetryConfig(AppConfig):
    name = "qorworker.contrib.opentelemetry"
    label = "qorworker_opentelemetry"
    verbose_name = "qorworker for OpenTelemetry"

    def ready(self) -> None:
        from qorworker.contrib.opentelemetry.tracing import note_trace  # noqa: PLC0415 - needs the models

        jobs_made.connect(note_trace, dispatch_uid="qorworker.contrib.opentelemetry")
