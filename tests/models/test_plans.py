"""How the databases find the rows: with 100,000 finished jobs, without statistics, with stale and with fresh ones."""

import re

import pytest
from django.db import connection

from qorworker.models import Job
from qorworker.models.batch_ends import unfinished_in
from qorworker.models.clock import now_sql
from qorworker.models.sql import WHOLE, AttemptUpdate, Stretch, claim, claim_one, claims_mysql, queues_with_jobs
from qorworker.models.sql.claims import claim_statement
from qorworker.models.sql.parts import marks, numbered
from qorworker.queries import figures
from tests.models.rows import token, wanted, written

FINISHED, WAITING, RUNNING = 100_000, 3_000, 600
TOKEN = token()
QUEUES = ("default", "mail")
only_postgresql = pytest.mark.only_on("postgresql")  # the one that tells what it really did


def fill(status, count, **fields):
    """Many like rows in one statement."""
    now = now_sql(connection)
    values = {"name": "'app.job'", "queue_name": "'default'", "priority": "n %% 3", "status": f"'{status}'"}
    values |= {"arguments": "'{}'", "meta": "'{}'", "run_after": now, "enqueued_at": now}
    values |= dict.fromkeys(("limit_key", "fingerprint", "progress_text", "error"), "''")
    values |= dict.fromkeys(("attempt", "crashes", "log_lines", "log_bytes", "log_dropped"), "0")
    values |= dict.fromkeys(
        ("has_parents", "waits_for_jobs", "waits_for_approval", "has_dependents", "is_dry_run"), "FALSE"
    )
    values |= {
        "max_attempts": "3",
        "version": "1",
        "results_rows": "0",
        "results_before": "0",
        "files_count": "0",
        "results_errors": "0",
        "unique_among": "''",
    }
    values |= fields
    if connection.vendor == "postgresql":
        values |= {"arguments": "'{}'::jsonb", "meta": "'{}'::jsonb"}
    numbers = {
        "postgresql": "generate_series(1, %s) AS numbers(n)",
        "mysql": "(WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < %s)"
        " SELECT n FROM numbers) AS numbers",
        "sqlite": "(WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < %s)"
        " SELECT n FROM numbers)",
    }[connection.vendor]
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute("SET max_recursive_iterations = 1000000")
        cursor.execute(
            f"INSERT INTO qorworker_job ({', '.join(values)}) SELECT {', '.join(values.values())} FROM {numbers}",
            [count],
        )


def fill_live():
    for queue in QUEUES:
        fill("new", WAITING, queue_name=f"'{queue}'")
    fill("scheduled", WAITING, run_after=now_sql(connection, "(n - 100.5) * 3600"))
    fill("scheduled", WAITING, run_after=now_sql(connection, "-n"), pause_requested_at=now_sql(connection))
    fill("running", RUNNING, attempt_token=f"'{TOKEN}'", lease_expires_at=now_sql(connection, "(n - 10.5) * 3600"))


def analyze():
    statement = {"postgresql": "ANALYZE qorworker_job", "mysql": "ANALYZE TABLE qorworker_job", "sqlite": "ANALYZE"}
    with connection.cursor() as cursor:
        cursor.execute(statement[connection.vendor])
        if connection.vendor == "mysql":
            cursor.fetchall()


def forget_all():
    """No jobs, and nothing that the planner knows of those that were, nor will hear of by itself."""
    with connection.cursor() as cursor:
        cursor.execute(f"{'DELETE FROM' if connection.vendor == 'sqlite' else 'TRUNCATE'} qorworker_job")
        if connection.vendor == "sqlite":
            cursor.execute("DROP TABLE IF EXISTS sqlite_stat1")
            cursor.execute("DROP TABLE IF EXISTS sqlite_stat4")
        if connection.vendor == "postgresql":
            cursor.execute("ALTER TABLE qorworker_job SET (autovacuum_enabled = off)")
            cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
            if cursor.fetchone()[0]:
                cursor.execute("DELETE FROM pg_statistic WHERE starelid = 'qorworker_job'::regclass")


@pytest.fixture(scope="module")
def many_finished(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        forget_all()
        fill("done", FINISHED, finished_at=now_sql(connection))
        yield
        forget_all()


@pytest.fixture(scope="module", params=["cold", "stale", "fresh"])
def statistics(request, many_finished, django_db_blocker):
    """What the planner knows: nothing; how things were while no job waited or ran; how they are."""
    with django_db_blocker.unblock():
        Job.objects.exclude(status="done").erase()
        if request.param == "stale":
            analyze()
        fill_live()
        if request.param == "fresh":
            analyze()
    return request.param


@pytest.fixture
def plans(statistics, db):
    """The plans of all statements that an action runs, and what it returns."""

    def collect(action):
        found = []

        def explain(execute, sql, params, many, context):
            if sql.lstrip().startswith(("SELECT", "UPDATE", "WITH")):
                found.append(plan_of(sql, params))
            return execute(sql, params, many, context)

        with connection.execute_wrapper(explain):
            result = action()
        assert found
        return "\n".join(found), result

    return collect


def plan_of(sql, params):
    word = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with connection.cursor() as cursor:
        cursor.cursor.execute(f"{word} {sql}", params)  # past the wrapper that asks for plans
        names, rows = [column[0] for column in cursor.description], cursor.fetchall()
    if connection.vendor == "mysql":
        named = [dict(zip(names, row, strict=True)) for row in rows]
        return "\n".join("{table} type={type} key={key} rows={rows} {Extra}".format(**row) for row in named)
    return "\n".join(row[3 if connection.vendor == "sqlite" else 0] for row in rows)


def reads_all(plan):
    """Lines of a plan that read every row of the table, or every entry of one of its indexes."""
    if connection.vendor == "mysql":
        mine = [line for line in plan.splitlines() if line.startswith(("qorworker_job ", "job "))]
        return [line for line in mine if "type=ALL" in line or "type=index " in line]
    mark = {"postgresql": "Seq Scan on qorworker_job", "sqlite": "SCAN qorworker_job"}[connection.vendor]
    return [line for line in plan.splitlines() if mark in line]


def by_primary_key(plan):
    return {
        "postgresql": "qorworker_job_pkey" in plan,
        "sqlite": "USING INTEGER PRIMARY KEY (rowid=?)" in plan,
        "mysql": "key=PRIMARY" in plan,
    }[connection.vendor]


def indexes(plan):
    return {word.strip("(),") for line in plan.split() for word in line.split("=") if "qorworker_job_" in word}


@pytest.mark.parametrize("size", [1, 200])
@pytest.mark.parametrize("queues", [["default"], ["default", "mail"]])
def test_a_claim_walks_its_index_in_order(plans, size, queues):
    plan, claimed = plans(lambda: claim("default", wanted(queues=queues, slots=size, limit=size)))
    assert len(claimed) == size
    assert reads_all(plan) == []
    assert indexes(plan) - {"qorworker_job_pkey", "qorworker_job_1", "qorworker_job_2"} == {"qorworker_job_claim"}
    assert by_primary_key(plan)
    if connection.vendor == "mysql":
        assert "filesort" not in plan
    if connection.vendor == "sqlite":  # the window functions sort what was found, each walk is in order already
        assert (
            "USE TEMP B-TREE FOR ORDER BY"
            not in plan.partition("SEARCH qorworker_job USING INDEX")[2].partition("\n")[0]
        )


@pytest.mark.only_on("mysql")
@pytest.mark.parametrize("size", [1, 200])
def test_a_claim_that_locks_by_key_finds_all_by_indexes(plans, monkeypatch, size):
    monkeypatch.setattr(claims_mysql, "monotonic", lambda: -1.0)  # before the time until which it does so
    plan, claimed = plans(lambda: claim("default", wanted(queues=QUEUES, slots=size, limit=size)))
    assert len(claimed) == size
    assert reads_all(plan) == []
    assert "filesort" not in plan
    walks = [line for line in plan.splitlines() if "key=qorworker_job_claim" in line]
    keys = [line for line in plan.splitlines() if "key=PRIMARY" in line]
    assert (len(walks), len(keys)) == (len(QUEUES), len(QUEUES) + 1)


def measured(action):
    """What PostgreSQL really did for the last statement of an action, when it is done once more."""
    queries = []
    with connection.execute_wrapper(lambda execute, *query: (queries.append(query[:2]), execute(*query))[1]):
        action()
    sql, params = queries[-1]
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) " + sql, params)
        return "\n".join(row[0] for row in cursor.fetchall())


@only_postgresql
def test_a_claim_reads_no_more_rows_than_it_takes(statistics, db):
    plan = measured(lambda: claim("default", wanted(slots=50, limit=50)))
    read = [int(rows) for rows in re.findall(r"rows=(\d+) loops", plan)]
    assert read
    assert max(read) <= 3 * 50, plan  # an index may lead to versions of a row that are over


def begun_at(pk, **changes):
    """A claim that begins there with the jobs of priority 1, of which there is one more further back."""
    stretches = [Stretch(WHOLE[0].high, 2), Stretch(1, 1, pk), Stretch(0, WHOLE[0].low)]
    back = Job.objects.queued().on_queue("default").filter(priority=1, pk__lt=pk).values_list("pk", flat=True)[0]
    return wanted(stretches={"default": stretches}, returned=[back], **changes)


@pytest.fixture
def middle(statistics, db):
    """Id in the middle of the waiting jobs, behind which those of priority 2 are taken."""
    waiting = Job.objects.queued().on_queue("default").order_by("pk").values_list("pk", flat=True)
    Job.objects.queued().filter(priority=2).update(status="cancelled")
    return waiting[WAITING // 3]


@only_postgresql
@pytest.mark.parametrize("size", [1, 200])
def test_a_claim_that_begins_further_on_walks_the_same_index(plans, middle, size):
    plan, claimed = plans(lambda: claim("default", begun_at(middle, slots=size, limit=size)))
    assert len(claimed) == size
    assert claimed[0].id < middle <= min([job.id for job in claimed[1:]], default=middle)
    assert reads_all(plan) == []
    assert indexes(plan) - {"qorworker_job_pkey", "qorworker_job_1", "qorworker_job_2"} == {"qorworker_job_claim"}
    assert re.search(r"Index Cond: .*queue_name.* AND .*limit_key.* AND .*priority.* <= .* AND .*id >= ", plan), plan
    assert "Sort Key: qorworker_job" not in plan


@only_postgresql
@pytest.mark.parametrize("is_known", [True, False])
def test_a_plan_that_is_kept_for_all_values_walks_the_same_index(middle, is_known):
    """Also if it is from a time when the table was empty."""
    sql, params = claim_statement(connection, begun_at(middle, slots=50, limit=50))
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        if not is_known:
            cursor.execute("CREATE TEMPORARY TABLE qorworker_job (LIKE qorworker_job INCLUDING ALL)")
        cursor.execute(f"PREPARE claim AS {numbered(sql)}".replace("%", "%%"), [])
        cursor.execute(f"EXPLAIN EXECUTE claim ({marks(params)})", params)
        plan = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("DEALLOCATE claim")
    walk = plan.partition("Function Scan on stretch")[2]
    assert re.search(r"Index Cond: .*queue_name.* AND .*limit_key.* AND .*priority.* <= .* AND .*id >= ", walk), plan


@only_postgresql
def test_a_claim_that_begins_further_on_reads_no_more_rows_than_it_takes(middle):
    plan = measured(lambda: claim("default", begun_at(middle, slots=50, limit=50)))
    read = [int(rows) for rows in re.findall(r"rows=(\d+) loops", plan)]
    assert max(read) <= 3 * 50, plan


@only_postgresql
def test_the_next_queue_is_found_by_its_name(statistics, db):
    plan = measured(lambda: queues_with_jobs("default"))
    assert re.search(r"Index Cond: .*queue_name.* > ", plan), plan


def test_one_certain_job_is_found_by_its_key(plans):
    pk = Job.objects.queued().values_list("pk", flat=True)[0]
    plan, claimed = plans(lambda: claim_one("default", pk, wanted()))
    assert claimed.id == pk
    assert reads_all(plan) == []


@pytest.mark.parametrize("size", [1, 20, 200, 500])
def test_ends_look_their_rows_up_by_key(plans, size):
    ids = list(Job.objects.running().order_by("pk").values_list("pk", flat=True)[:size])
    plan, ours = plans(lambda: written(*[AttemptUpdate(pk, TOKEN, "done") for pk in ids]))
    assert ours == set(ids)
    assert reads_all(plan) == []
    assert by_primary_key(plan)


@pytest.mark.parametrize("size", [1, 200])
def test_renewals_look_their_rows_up_by_key(plans, size):
    ids = Job.objects.running().order_by("pk").values_list("pk", flat=True)[:size]
    tokens = dict.fromkeys(ids, TOKEN)
    plan, renewed = plans(lambda: Job.objects.renew(tokens, 15))
    assert renewed == size
    assert reads_all(plan) == []
    assert by_primary_key(plan)
    plan, asked = plans(lambda: Job.objects.requests(tokens))
    assert len(asked) == size
    assert reads_all(plan) == []
    assert by_primary_key(plan)


def test_what_is_due_is_found_by_its_index(plans):
    plan, (count, *_) = plans(lambda: Job.objects.promote(1.0))
    assert 90 <= count <= 110
    assert reads_all(plan) == []
    assert "qorworker_job_due" in indexes(plan)
    if connection.vendor == "postgresql":
        assert re.search(r"Index Cond: .*run_after.* <= ", plan)


def test_paused_jobs_are_found_by_their_index_and_not_among_what_is_due(plans):
    in_order = Job.objects.paused().order_by("pause_requested_at")
    plan, paused = plans(lambda: list(in_order.values_list("pk", flat=True)[: WAITING + 1]))
    assert len(paused) == WAITING
    assert reads_all(plan) == []
    assert indexes(plan) & {"qorworker_job_paused", "qorworker_job_due"}
    plan, due = plans(lambda: list(Job.objects.due().values_list("pk", flat=True)))
    assert len(due) == 100
    assert indexes(plan) == {"qorworker_job_due"}
    if connection.vendor == "postgresql":  # the index does not have them
        assert "Rows Removed by Filter" not in plan


def test_past_leases_are_found_by_their_index(plans):
    plan, leases = plans(Job.objects.expired_leases)
    assert len(leases) == 10
    assert reads_all(plan) == []
    assert "qorworker_job_lease" in indexes(plan)
    if connection.vendor == "postgresql":
        assert re.search(r"Index Cond: .*lease_expires_at.* < ", plan)


def test_queues_with_jobs_are_found_by_index_probes(plans):
    plan, queues = plans(lambda: queues_with_jobs("default"))
    assert {queue: heads.limited for queue, heads in queues.items()} == dict.fromkeys(QUEUES, False)
    assert reads_all(plan) == []
    if connection.vendor == "mysql":
        assert plan.count("Select tables optimized away") == len(QUEUES)
    else:
        assert {index for index in indexes(plan) if not index[-1].isdigit()} == {"qorworker_job_claim"}


@pytest.mark.django_db
def test_the_indexes_are_what_each_database_can_do():
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, "qorworker_job")
        if connection.vendor == "sqlite":
            cursor.execute(
                "SELECT name FROM sqlite_master WHERE tbl_name = 'qorworker_job' AND sql LIKE '%%WHERE%%'", []
            )
        elif connection.vendor == "postgresql":
            cursor.execute(
                "SELECT indexname FROM pg_indexes WHERE tablename = 'qorworker_job' AND indexdef LIKE '%WHERE%'"
            )
        partial = set() if connection.vendor == "mysql" else {row[0] for row in cursor.fetchall()} - {"qorworker_job"}
    ours = {name: index for name, index in found.items() if name.startswith("qorworker_job_")}
    first = [] if connection.vendor == "postgresql" else ["status"]
    assert ours["qorworker_job_claim"]["columns"] == [*first, "queue_name", "limit_key", "priority", "id"]
    assert [order.upper() for order in ours["qorworker_job_claim"]["orders"]][-3:] == ["ASC", "DESC", "ASC"]
    assert ours["qorworker_job_limit"]["columns"] == [*first, "limit_key"]
    paused = ["pause_requested_at"] if first else []
    assert ours["qorworker_job_due"]["columns"] == [*first, *paused, "waits_for_jobs", "run_after"]
    in_paused = ["status"] if connection.vendor == "sqlite" else []
    assert ours["qorworker_job_paused"]["columns"] == [*in_paused, "pause_requested_at"]
    assert ours["qorworker_job_lease"]["columns"] == [*first, "lease_expires_at"]
    assert ours["qorworker_job_failed"]["columns"] == [*first, "id"]
    assert ours["qorworker_job_user"]["columns"] == ["created_by_id", "id"]
    if connection.vendor != "mysql":
        names = ("claim", "limit", "due", "paused", "lease", "failed", "user", "rerun", "schedule", "batch", "unique")
        assert partial == {f"qorworker_job_{name}" for name in names}


def test_the_figures_of_the_queues_read_no_more_than_they_count(plans):
    plan, found = plans(lambda: figures.backlogs(Job.objects.all(), QUEUES))
    assert reads_all(plan) == []
    assert found["default"].queued == WAITING
    assert found["default"].running == RUNNING


@pytest.mark.parametrize("left", [0, 1])
def test_the_end_of_a_batch_is_found_by_its_own_index(plans, left):
    """Not along the primary key: all jobs that are newer than the batch would be passed."""
    rows = Job.objects.all()
    ids = rows.done().order_by("pk").values_list("pk", flat=True)[:200]
    Job.objects.filter(pk__in=list(ids)).update(batch=7)
    Job.objects.filter(pk__in=list(rows.queued().values_list("pk", flat=True)[:left])).update(batch=7)
    plan, found = plans(lambda: unfinished_in(rows, 7))
    Job.objects.filter(batch=7).update(batch=None)
    assert "qorworker_job_batch" in plan
    assert reads_all(plan) == []
    assert (found is not None) == bool(left)
