"""A table with what a job must have at least, and one index: what storing a row costs anyway."""

from __future__ import annotations

from django.db import models


class Bare(models.Model):
    name = models.CharField(max_length=200)
    queue = models.CharField(max_length=50)
    priority = models.SmallIntegerField()
    state = models.SmallIntegerField()
    arguments = models.JSONField()
    run_after = models.DateTimeField()
    created_at = models.DateTimeField()

    class Meta:
        indexes = (
            models.Index(
                "queue", models.F("priority").desc(), "run_after", "id",
                condition=models.Q(state=0), name="benchjobs_ready",
            ),
        )  # fmt: skip
