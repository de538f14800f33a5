"""The addresses of the example project in production: those of the project, and those for programs that watch it."""

import os

from django.urls import include, path

from example_project.urls import urlpatterns as of_the_project
from qorworker.contrib.prometheus.views import metrics_view

urlpatterns = [*of_the_project, path("health/", include("qorworker.contrib.health"))]
if token := os.environ.get("EXAMPLE_METRICS_TOKEN"):
    urlpatterns.append(path("metrics", metrics_view(token=token)))
