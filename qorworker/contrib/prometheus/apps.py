"""The app with the command ``exportmetrics``. All processes."""

from django.apps import AppConfig


class PrometheusConfig(AppConfig):
    name = "qorworker.contrib.prometheus"
    label = "qorworker_prometheus"
    verbose_name = "qorworker for Prometheus"
