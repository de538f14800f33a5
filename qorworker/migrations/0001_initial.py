"""The tables of qorworker."""

import django.core.serializers.json
import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import qorworker.models.indexes


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Worker",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=200, verbose_name="name")),
                ("host", models.CharField(max_length=200, verbose_name="host")),
                ("process_id", models.PositiveIntegerField(verbose_name="process id")),
                ("boot_id", models.CharField(blank=True, max_length=64)),
                ("pid_namespace", models.CharField(blank=True, max_length=64)),
                ("process_started", models.BigIntegerField(default=0)),
                ("cookie", models.CharField(blank=True, max_length=32)),
                ("version", models.CharField(max_length=50, verbose_name="version")),
                ("queues", models.JSONField(default=list, verbose_name="queues")),
                ("job_types", models.JSONField(default=list, verbose_name="job types")),
                ("slots", models.PositiveSmallIntegerField(verbose_name="slots")),
                ("memory", models.BigIntegerField(default=0, verbose_name="memory")),
                ("started_at", models.DateTimeField(verbose_name="started at")),
                ("heartbeat_at", models.DateTimeField(verbose_name="last sign of life")),
                ("stopped_at", models.DateTimeField(blank=True, null=True, verbose_name="stopped at")),
            ],
            options={
                "verbose_name": "worker",
                "verbose_name_plural": "workers",
                "ordering": ("-id",),
                "permissions": (("manage_worker", "Can drain, pause and stop workers"),),
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(verbose_name="at")),
                ("action", models.CharField(max_length=40, verbose_name="action")),
                ("outcome", models.CharField(default="ok", max_length=20, verbose_name="outcome")),
                ("job_id", models.BigIntegerField(blank=True, null=True, verbose_name="job")),
                ("job_name", models.CharField(blank=True, max_length=200, verbose_name="job type")),
                ("user_id", models.CharField(blank=True, max_length=64)),
                ("user_name", models.CharField(blank=True, max_length=254, verbose_name="user")),
                (
                    "origin",
                    models.CharField(
                        choices=[
                            ("admin", "admin"),
                            ("code", "code"),
                            ("command", "command line"),
                            ("worker", "worker"),
                        ],
                        max_length=10,
                        verbose_name="origin",
                    ),
                ),
                ("address", models.GenericIPAddressField(blank=True, null=True, verbose_name="address")),
                (
                    "details",
                    models.JSONField(
                        default=dict, encoder=django.core.serializers.json.DjangoJSONEncoder, verbose_name="details"
                    ),
                ),
            ],
            options={
                "verbose_name": "audit entry",
                "verbose_name_plural": "audit entries",
                "ordering": ("-id",),
                "default_permissions": ("view",),
                "indexes": [models.Index(fields=["job_id", "id"], name="qorworker_audit_job")],
            },
        ),
        migrations.CreateModel(
            name="Job",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=200, verbose_name="job type")),
                ("queue_name", models.CharField(default="default", max_length=100, verbose_name="queue")),
                (
                    "priority",
                    models.SmallIntegerField(
                        default=0,
                        help_text="From −100 to 100; higher runs first.",
                        validators=[
                            django.core.validators.MinValueValidator(-100),
                            django.core.validators.MaxValueValidator(100),
                        ],
                        verbose_name="priority",
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("new", "Queued"),
                            ("scheduled", "Scheduled"),
                            ("running", "Running"),
                            ("done", "Done"),
                            ("exception", "Failed"),
                            ("killed", "Aborted"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="new",
                        max_length=10,
                        verbose_name="status",
                    ),
                ),
                (
                    "arguments",
                    models.JSONField(
                        default=dict, encoder=django.core.serializers.json.DjangoJSONEncoder, verbose_name="arguments"
                    ),
                ),
                ("fingerprint", models.CharField(blank=True, max_length=32)),
                ("meta", models.JSONField(blank=True, default=dict)),
                ("run_after", models.DateTimeField(verbose_name="run after")),
                ("enqueued_at", models.DateTimeField(verbose_name="created")),
                ("started_at", models.DateTimeField(blank=True, null=True, verbose_name="first started")),
                ("last_attempted_at", models.DateTimeField(blank=True, null=True, verbose_name="started")),
                ("finished_at", models.DateTimeField(blank=True, null=True, verbose_name="finished")),
                ("attempt", models.PositiveSmallIntegerField(default=0, verbose_name="attempt")),
                ("max_attempts", models.PositiveSmallIntegerField(default=1, verbose_name="attempts at most")),
                ("crashes", models.PositiveSmallIntegerField(default=0)),
                ("attempt_token", models.CharField(blank=True, editable=False, max_length=32, null=True)),
                ("lease_expires_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("process_id", models.PositiveIntegerField(blank=True, null=True, verbose_name="process id")),
                ("abort_requested_at", models.DateTimeField(blank=True, null=True, verbose_name="abort requested at")),
                ("progress", models.PositiveSmallIntegerField(blank=True, null=True, verbose_name="progress")),
                ("progress_text", models.CharField(blank=True, max_length=200, verbose_name="progress text")),
                ("error", models.TextField(blank=True, verbose_name="error")),
                ("log_lines", models.PositiveIntegerField(default=0)),
                ("log_bytes", models.PositiveBigIntegerField(default=0)),
                ("log_dropped", models.PositiveIntegerField(default=0)),
                ("results_rows", models.PositiveIntegerField(default=0)),
                ("results_before", models.PositiveIntegerField(default=0)),
                ("results_errors", models.PositiveIntegerField(default=0)),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="created by",
                    ),
                ),
                (
                    "rerun_of",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="reruns",
                        to="qorworker.job",
                        verbose_name="run again of",
                    ),
                ),
                (
                    "worker",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="jobs",
                        to="qorworker.worker",
                        verbose_name="worker",
                    ),
                ),
            ],
            options={
                "verbose_name": "job",
                "verbose_name_plural": "jobs",
                "ordering": ("-id",),
                "permissions": (
                    ("run_job", "Can run jobs"),
                    ("abort_job", "Can abort and cancel jobs"),
                    ("reschedule_job", "Can reschedule jobs"),
                    ("retry_job", "Can retry jobs"),
                    ("view_job_arguments", "Can view the arguments of jobs"),
                    ("view_job_log", "Can view the log and errors of jobs"),
                ),
                "default_permissions": ("view", "delete"),
            },
        ),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveSmallIntegerField(verbose_name="attempt")),
                ("worker_id", models.BigIntegerField(blank=True, null=True)),
                ("worker_name", models.CharField(blank=True, max_length=200, verbose_name="worker")),
                ("process_id", models.PositiveIntegerField(blank=True, null=True, verbose_name="process id")),
                ("started_at", models.DateTimeField(verbose_name="started at")),
                ("finished_at", models.DateTimeField(verbose_name="finished at")),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("done", "Done"),
                            ("row_errors", "Rows with errors"),
                            ("failed", "Failed"),
                            ("crashed", "Process ended unexpectedly"),
                            ("lost", "Worker lost"),
                            ("timeout", "Time limit"),
                            ("memory", "Memory limit"),
                            ("aborted", "Aborted"),
                            ("interrupted", "Interrupted by shutdown"),
                            ("refused", "Could not start"),
                        ],
                        max_length=12,
                        verbose_name="outcome",
                    ),
                ),
                ("exit_code", models.SmallIntegerField(blank=True, null=True, verbose_name="exit code")),
                ("signal", models.PositiveSmallIntegerField(blank=True, null=True, verbose_name="signal")),
                ("peak_memory", models.BigIntegerField(blank=True, null=True, verbose_name="peak memory")),
                (
                    "survivors",
                    models.PositiveSmallIntegerField(default=0, verbose_name="processes that could not be ended"),
                ),
                ("error", models.TextField(blank=True, verbose_name="error")),
                ("traceback", models.TextField(blank=True, verbose_name="traceback")),
                (
                    "job",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="attempts",
                        to="qorworker.job",
                    ),
                ),
            ],
            options={
                "verbose_name": "attempt",
                "verbose_name_plural": "attempts",
                "ordering": ("-id",),
                "default_permissions": (),
                "indexes": [models.Index(fields=["job", "number"], name="qorworker_attempt_job")],
            },
        ),
        migrations.CreateModel(
            name="LogLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField(verbose_name="line")),
                ("attempt", models.PositiveSmallIntegerField(verbose_name="attempt")),
                ("at", models.DateTimeField(verbose_name="at")),
                ("level", models.PositiveSmallIntegerField(verbose_name="level")),
                ("text", models.TextField(verbose_name="text")),
                (
                    "job",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="log",
                        to="qorworker.job",
                    ),
                ),
            ],
            options={
                "verbose_name": "log line",
                "verbose_name_plural": "log lines",
                "ordering": ("job", "number"),
                "default_permissions": (),
                "constraints": [models.UniqueConstraint(fields=("job", "number"), name="qorworker_log_line")],
            },
        ),
        migrations.CreateModel(
            name="ResultsRow",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField(verbose_name="row")),
                ("attempt", models.PositiveSmallIntegerField(verbose_name="attempt")),
                ("cells", models.JSONField(default=list, verbose_name="cells")),
                ("has_error", models.BooleanField(default=False, verbose_name="has errors")),
                (
                    "job",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="results",
                        to="qorworker.job",
                    ),
                ),
            ],
            options={
                "verbose_name": "results row",
                "verbose_name_plural": "results rows",
                "ordering": ("job", "number"),
                "default_permissions": (),
                "constraints": [models.UniqueConstraint(fields=("job", "number"), name="qorworker_results_row")],
            },
        ),
        migrations.AddIndex(
            model_name="job",
            index=qorworker.models.indexes.PartialIndex(
                fields=["queue_name", "-priority", "id"], name="qorworker_job_claim", only=models.Q(("status", "new"))
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=qorworker.models.indexes.PartialIndex(
                fields=["run_after"], name="qorworker_job_due", only=models.Q(("status", "scheduled"))
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=qorworker.models.indexes.PartialIndex(
                fields=["lease_expires_at"], name="qorworker_job_lease", only=models.Q(("status", "running"))
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=qorworker.models.indexes.PartialIndex(
                fields=["id"], name="qorworker_job_failed", only=models.Q(("status", "exception"))
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["name", "-id"], name="qorworker_job_name"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=qorworker.models.indexes.PartialIndex(
                fields=["created_by", "-id"], name="qorworker_job_user", only=models.Q(("created_by__isnull", False))
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=qorworker.models.indexes.PartialIndex(
                fields=["rerun_of"], name="qorworker_job_rerun", only=models.Q(("rerun_of__isnull", False))
            ),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("attempt_token__isnull", False), ("status", "running")),
                    models.Q(models.Q(("status", "running"), _negated=True), ("attempt_token__isnull", True)),
                    _connector="OR",
                ),
                name="qorworker_job_token",
            ),
        ),
    ]
