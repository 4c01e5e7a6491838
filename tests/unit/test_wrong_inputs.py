"""Wrong configuration values: each is refused with its path, the value and the cure."""

import pytest

from daemon.config.load import ConfigError, load_config
from daemon.registry import JOB_NAMES

MAIN = '[databases.main]\ndsn = "dbname=coop"\n'
LISTED = '\n[[jobs.log_cleanup.tables]]\ntable = "{}"\ncolumn = "at"\nkeep = "{}"\n'
FILES = '\n[[jobs.log_cleanup.files]]\npath = "{}"\ntotal = "1 kB"\n'
ARCHIVED = (
    '\n[[jobs.archive.tables]]\ntable = "public.t"\ncolumn = "at"\nolder_than = "1 year"\n'
    'to = "file:///srv/archive"\n'
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[databases.main]\ndsn = ""', "databases.main.dsn: is empty"),
        ('[databases.main]\ndsn = "port=abc"', 'its port "abc" is not a number from 1 to 65535'),
        ('[databases.main]\ndsn = "port=99999999"', 'its port "99999999" is not'),
        ('[databases."my db"]\ndsn = "dbname=coop"', "databases.my db: must be made of letters"),
        (MAIN + '[databases.other]\ndsn = "dbname=coop user=x"', "same database as databases.main"),
        (MAIN + '[daemon]\nname = "a\\nb"', "must not contain line breaks"),
        (MAIN + '[daemon]\nstate = "state.db"', '"state.db" is not an absolute path'),
        (MAIN + '[daemon]\nname = "inputs\n', "is a quote or a bracket of that line not closed?"),
        (MAIN + '[governor]\nbatch = "10 days"', "governor.batch: must be at most 1 minute"),
        (MAIN + '[governor]\npace = "slow"', "governor.pace: must be one of 'auto', 'gentle'"),
        (MAIN + "[governor]\nbatch_rows = 1.5", "governor.batch_rows: must be a whole number"),
        (MAIN + '[repeat]\nhigh = "1s"', "repeat.high: must be at least 1 minute"),
        (MAIN + LISTED.format("public.t", "-5 days"), '"-5 days" must be longer than 0'),
        (MAIN + LISTED.format('public.\\"Pay', "5 days"), "the quote of '\"Pay' is not closed"),
        (MAIN + LISTED.format("pg_catalog.pg_class", "5 days"), "is a table of the server"),
        (MAIN + LISTED.format("sereno.claim", "5 days"), "or of sereno itself"),
        (MAIN + LISTED.format("public.t", "5 days") + 'where = ""', "is not one SQL condition"),
        (MAIN + ARCHIVED + FILES.format("/srv/archive/main/public/t/*"), "folder of the archive"),
        (MAIN + ARCHIVED + FILES.format("/srv/archive/*"), "folder of the archive"),
        (
            MAIN
            + ARCHIVED.replace("file:///srv/archive", "table:public.h")
            + LISTED.format("public.h", "9 days"),
            "would be deleted before they are archived",
        ),
        (MAIN + ARCHIVED + 'children = ["public.t"]', "lists public.t itself, or a table twice"),
        (MAIN + '[jobs.health_report]\nfolder = "reports"', '"reports" is not an absolute path'),
        (MAIN + FILES.format("/var/lib/sereno/*"), "the pattern matches the state file"),
    ],
)
def test_wrong_value_is_refused(tmp_path, text, problem):
    assert problem in "\n".join(_problems(tmp_path, text))


@pytest.mark.parametrize(
    ("check", "options", "problem"),
    [
        ("dead_tuples", "warning = 7.5", "dead_tuples.warning: 7.5 is not a share"),
        ("dead_tuples", "warning = -1", "dead_tuples.warning: -1 is not a number of 0 or more"),
        ("disk", "warning = 80", "80 is not a share: above 0 and at most 1 (0.8 is 80 %)"),
        ("sequence_exhaustion", "warning = 0", "0 is not a share"),
        ("stale_statistics", "days = -7", "-7 is not a number of 0 or more"),
        ("wraparound", "warning = nan", "nan is not a finite number"),
        ("wraparound", "critical = inf", "inf is not a finite number"),
        ("wraparound", "critical = -inf", "-inf is not a finite number"),
        (
            "dead_tuples",
            "warning = 0.9\nhigh = 0.1",
            "dead_tuples.high: 0.1 is less severe than warning = 0.9: exchange them",
        ),
    ],
)
def test_threshold_that_cannot_work_is_refused(tmp_path, check, options, problem):
    assert problem in "\n".join(_problems(tmp_path, f"{MAIN}[checks.{check}]\n{options}\n"))


@pytest.mark.parametrize(
    "text",
    [
        '[databases.a]\ndsn = "service=a"\n[databases.b]\ndsn = "service=b"\n',
        '[databases.a]\ndsn = "user=a"\n[databases.b]\ndsn = "user=b"\n',
        MAIN + "[checks.wraparound]\nwarning = 0.5\n",
        MAIN
        + ARCHIVED
        + "where = 'a = 1'"
        + LISTED.format("public.t", "9 days")
        + "where = 'a = 2'\n",
        MAIN + "[checks.balance]\nwarning = -50\nquota = 80\n",
    ],
)
def test_unusual_value_is_accepted(tmp_path, text):
    folder = tmp_path / "checks.d"
    folder.mkdir()
    (folder / "balance.sql").write_text(
        '-- title = "balance"\n-- order = "falling"\n-- option.warning = { default = -100 }\n'
        '-- option.quota = { default = 90, help = "share of the quota in percent" }\n'
        "SELECT 'a' AS object, 1 AS value, 's' AS summary WHERE 1 < :warning + :quota\n"
    )
    path = tmp_path / "config.toml"
    path.write_text(f'{text}[daemon]\nchecks = "{folder}"\n')
    assert load_config(path, JOB_NAMES)


def test_byte_order_mark_is_accepted(tmp_path):
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf" + MAIN.encode())
    assert load_config(path, JOB_NAMES).databases["main"].dsn == "dbname=coop"


def _problems(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, JOB_NAMES)
    return caught.value.problems
