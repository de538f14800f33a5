"""An app for the settings of tests: it gives the workers under test the jobs of the contract. Test processes only."""

from django.apps import AppConfig


class TestingConfig(AppConfig):
    name = "qorworker.testing"
    label = "qorworker_testing"
    verbose_name = "qorworker's contract for backends"
