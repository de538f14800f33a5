import pytest

from qorworker.text.sql import NotAllowed, Statement, read

VENDORS = ["postgresql", "sqlite", "mysql"]


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    ("text", "kind", "table"),
    [
        ('INSERT INTO "shop_product" ("name") VALUES (%s)', "INSERT", "shop_product"),
        ("insert ignore into `shop_product` (`name`) values (%s)", "INSERT", "shop_product"),
        ("INSERT OR REPLACE INTO shop_product VALUES (1)", "INSERT", "shop_product"),
        ('UPDATE "public"."shop_product" SET x = 1', "UPDATE", "shop_product"),
        ("UPDATE OR IGNORE shop_product SET x = 1", "UPDATE", "shop_product"),
        ("DELETE FROM shop_product WHERE id IN (SELECT id FROM other)", "DELETE", "shop_product"),
        ("/* why */ -- because\n  delete from shop_product", "DELETE", "shop_product"),
        ("WITH old AS (SELECT 1) UPDATE shop_product SET x = 1", "UPDATE", "shop_product"),
        ("WITH gone AS (DELETE FROM shop_product RETURNING *) SELECT * FROM gone", "DELETE", "shop_product"),
        ("SELECT * FROM shop_product FOR UPDATE", "SELECT", ""),
        ("WITH a AS (SELECT 1) SELECT * FROM a FOR UPDATE OF a", "SELECT", ""),
        ("WITH a AS (SELECT 1) SELECT * FROM a FOR UPDATE SKIP LOCKED", "SELECT", ""),
        ("(SELECT 1) UNION (SELECT 2)", "SELECT", ""),
        ("SELECT 1;", "SELECT", ""),
    ],
)
def test_what_a_statement_does(vendor, text, kind, table):
    assert read(text, vendor) == [Statement(kind, table)]


@pytest.mark.parametrize("vendor", VENDORS)
def test_savepoints_are_known_by_their_names(vendor):
    assert read('SAVEPOINT "s1"', vendor) == [Statement("SAVEPOINT", "", "s1")]
    assert read("ROLLBACK TO SAVEPOINT `s1`", vendor) == [Statement("ROLLBACK", "", "s1")]
    assert read("RELEASE SAVEPOINT s1", vendor) == [Statement("RELEASE", "", "s1")]


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "text",
    [
        "COMMIT", "commit", " Commit ;", "COMMIT AND CHAIN", "ROLLBACK", "ROLLBACK WORK", "BEGIN", "START TRANSACTION",
        "END", "ABORT", "SELECT 1; COMMIT", "SELECT 1;/* x */COMMIT", "SELECT 1;--x\nCOMMIT", "SELECT 1;#x\nCOMMIT",
        "/* a */ COMMIT", "((COMMIT", "/*! COMMIT */", "/*M! COMMIT */", "/*!50000 COMMIT */", "/* a /* b */ COMMIT",
        "/* a", "PREPARE TRANSACTION 'x'", "COMMIT PREPARED 'x'", "XA END 'x'", "XA COMMIT 'x'", "VACUUM",
        "VACUUM INTO 'x'", "ATTACH 'x' AS y", "DETACH y", "EXECUTE IMMEDIATE 'COMMIT'", "EXECUTE x", "DISCARD ALL",
        "IF 1 THEN COMMIT; END IF", "BEGIN NOT ATOMIC COMMIT; END", "\N{NO-BREAK SPACE}x", "%s", "LOAD DATA INFILE 'x'",
        "UNLOCK TABLES", "RENAME TABLE a TO b", "FLUSH TABLES", "HANDLER x OPEN", "COPY x TO '/tmp/x'",
        "COPY x TO PROGRAM 'mail'",
    ],
)  # fmt: skip
def test_what_ends_a_transaction_or_is_unknown_is_refused(vendor, text):
    with pytest.raises(NotAllowed):
        read(text, vendor)


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE x (y int)", "ALTER TABLE x ADD y int", "DROP TABLE x", "TRUNCATE x", "LOCK TABLES x WRITE",
        "SET autocommit = 1", "SET @@session.autocommit=1", "SET STATEMENT x=1 FOR COMMIT", "SET PASSWORD = 'x'",
        "SET GLOBAL x = 1", "CALL x()", "DO x()", "ANALYZE TABLE x", "CREATE TEMPORARY TABLE x (y int)",
    ],
)  # fmt: skip
def test_mysql_commits_with_these(text):
    with pytest.raises(NotAllowed):
        read(text, "mysql")


@pytest.mark.parametrize("vendor", ["postgresql", "sqlite"])
def test_others_take_back_what_changes_tables(vendor):
    assert read("CREATE TABLE x (y int)", vendor) == [Statement("CREATE", "")]
    assert read("CREATE TABLE x (y int)", vendor)[0].changes


def test_what_a_refusal_quotes_is_no_data():
    with pytest.raises(NotAllowed, match=r"^EXECUTE IMMEDIATE$"):
        read("EXECUTE IMMEDIATE 'secret'", "mysql")
