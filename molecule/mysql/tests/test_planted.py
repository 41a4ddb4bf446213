"""A notebook owns its database. What it plants there must not run when root dumps and restores, neither as SQL of root's nor in a shell."""

import pytest

FOLDER = "/srv/backups/mysql"
CAUGHT = "/tmp/caught"
RESTORE = "/usr/local/sbin/notebook-mysql-restore"
# As soon as it runs with root's rights, it gives the account all of the server.
TAKE = "GRANT ALL ON *.* TO jupyter@localhost WITH GRANT OPTION"
PLANTED = """
CREATE TABLE `traps
\\! touch CAUGHT-name
` (n int COMMENT 'x\\n\\\\! touch CAUGHT-column\\n');
CREATE TABLE traps (n int, s text DEFAULT (CONCAT('a', 'b')), u varchar(80) AS (CONCAT(s, '')) STORED)
  COMMENT '\\n\\\\! touch CAUGHT-table\\n';
INSERT INTO traps (n, s) VALUES (1, '\\n\\\\! touch CAUGHT-row\\n');
DELIMITER ;;
CREATE FUNCTION trap() RETURNS int SQL SECURITY INVOKER READS SQL DATA COMMENT '\\n\\\\! touch CAUGHT-function\\n'
BEGIN
  IF CURRENT_USER() LIKE 'root@%' OR USER() LIKE 'root@%' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'caught as root'; END IF;
  RETURN 1;
END;;
CREATE TRIGGER traps_insert BEFORE INSERT ON traps FOR EACH ROW BEGIN SET NEW.n = trap(); END;;
CREATE PROCEDURE trap_text() SQL SECURITY INVOKER BEGIN SELECT '*/ TAKE; /*', "\\n\\\\! touch CAUGHT-body"; /* ;; */ SELECT 2; END;;
CREATE EVENT trap_event ON SCHEDULE EVERY 1 SECOND DO INSERT INTO traps (n) VALUES (trap());;
CREATE SQL SECURITY INVOKER VIEW trap_view AS SELECT trap() AS n, '\\n\\\\! touch CAUGHT-view\\n' AS s;;
DELIMITER ;
""".replace("CAUGHT", CAUGHT).replace("TAKE", TAKE)
REMOVED = """
DROP EVENT IF EXISTS trap_event; DROP VIEW IF EXISTS trap_view; DROP TABLE IF EXISTS traps, `traps
\\! touch CAUGHT-name
`; DROP FUNCTION IF EXISTS trap; DROP PROCEDURE IF EXISTS trap_text;
""".replace("CAUGHT", CAUGHT)


def caught(host):
    """What ran with root's rights: in a shell, or in the server."""
    grants = host.check_output("mariadb --skip-column-names --execute='SHOW GRANTS FOR jupyter@localhost'")
    return host.run(f"ls {CAUGHT}-*").stdout.split() + [
        line for line in grants.splitlines() if "ALL PRIVILEGES ON *.*" in line
    ]


def as_notebook(host, statements):
    """Run statements as the notebook does."""
    host.check_output("printf '%%s' %s | runuser -u jupyter -- mariadb --binary-mode notebooks", statements)


@pytest.fixture(scope="module")
def planted(host):
    """A database with all of it."""
    as_notebook(host, REMOVED + PLANTED)
    yield
    as_notebook(host, REMOVED)
    host.run(f"rm -f {CAUGHT}-*")


def test_a_dump_and_a_restore_run_nothing_of_it(host, planted):
    host.check_output("/usr/local/sbin/notebook-mysql-dump notebooks")
    assert caught(host) == []
    host.check_output(f"{RESTORE} notebooks")
    assert caught(host) == []
    # All of it is there again, and the notebook's own.
    there = "SELECT COUNT(*) FROM information_schema.{} WHERE {} = 'notebooks' AND definer = 'jupyter@localhost'"
    for table, column in (
        ("routines", "routine_schema"),
        ("triggers", "trigger_schema"),
        ("events", "event_schema"),
        ("views", "table_schema"),
    ):
        assert int(host.check_output("mariadb --skip-column-names --execute=%s", there.format(table, column))) >= 1, (
            table
        )


def test_a_dump_that_names_a_program_does_not_run_it(host, planted):
    # As programs of former versions wrote it, when a table's name had a line break in it.
    dump = f"{FOLDER}/notebooks-20260101T000000Z.sql.gz"
    host.check_output("/usr/local/sbin/notebook-mysql-dump notebooks")
    newest = host.check_output(f"ls {FOLDER}/notebooks-2*.sql.gz | tail -n 1")
    lines = f"gzip -dc {newest} | grep -v 'sandbox mode' | sed '2i -- Table structure for table `traps\\n\\\\! touch {CAUGHT}-shell\\n'"
    host.check_output(f"({lines}) | gzip >{dump}")
    assert "touch" in host.check_output(f"gzip -dc {dump} | grep '^.! touch {CAUGHT}-shell'")
    host.run(f"{RESTORE} notebooks {dump}")
    assert caught(host) == []
    host.check_output(f"{RESTORE} notebooks {newest} && rm {dump}")
