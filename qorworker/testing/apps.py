"""An app for the settings of tests, so that the workers under test know the jobs of the contract too."""

from django.apps import AppConfig


class TestingConfig(AppConfig):
    name = "qorworker.testing"
    label = "qorworker_testing"
    verbose_name = "qorworker's contract for backends"
