"""Slack, by a stand-in with its limits: threads, edits, storms, and no message twice where that can be known."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from alerts.channels import slack
from alerts.channels.channel import Sender
from alerts.courier import Courier
from alerts.lifecycle import Acknowledgement
from alerts.policy import Policy
from alerts.processor import AlertProcessor
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.secret import Secret
from store.store import open_store
from tests.faults.slack_stand_in import SlackStandIn


class Clock:
    def __init__(self):
        self.now = datetime(2026, 3, 1, 2, tzinfo=UTC)

    def __call__(self):
        return self.now


class Room:
    """A store, a stand-in, and who carries between them."""

    def __init__(self, folder, **options):
        self.slack = SlackStandIn(0.0)
        (folder / "token").write_text("xoxb-canary")
        (folder / "app").write_text("xapp-canary")
        values = {"token": Secret(file=folder / "token"), "channel": "#ops", "mention": "S42", "app_token": Secret(file=folder / "app"), **options}  # fmt: skip
        channel = slack.Slack(
            slack.Options(type="slack", api_url=self.slack.url, **values), Sender("coop")
        )
        channels = {"slack": channel}
        policy = Policy(dict.fromkeys(Severity, ("slack",)), instance="coop", grouping_channels=frozenset(channels), acknowledging_channels=frozenset(channels), editing_channels=frozenset(channels))  # fmt: skip
        self.courier = Courier(
            open_store(folder / "state.db"), channels, policy, Clock(), ignore_grouping=True
        )

    def look(self, *findings):
        with self.courier.store.transaction() as transaction:
            AlertProcessor(transaction, self.courier.policy, self.courier.clock()).process(
                findings, [Coverage("orphans")]
            )
        return self.deliver()

    def deliver(self):
        while self.courier.deliver_one("slack"):
            pass
        return self.slack.messages


@pytest.fixture
def room(tmp_path):
    made = []

    def make(**options):
        made.append(Room(tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.slack.close()


def found(name="a", severity=Severity.HIGH):
    return Finding(
        Identity("orphans", "coop", database="main", object=f"public.{name}"),
        severity,
        f"7 rows of {name}",
    )


def words(message):
    return json.dumps(message["blocks"], ensure_ascii=False)


def test_the_first_message_is_edited_and_answered_in_its_thread(room):
    house = room()
    (first,) = house.look(found())
    assert "<!subteam^S42>" not in first["text"]
    assert '"action_id": "acknowledge"' in words(first)
    house.courier.clock.now += timedelta(minutes=1)
    _, worse = house.look(found(severity=Severity.CRITICAL))
    assert (worse["thread_ts"], worse["broadcast"]) == (first["ts"], True)
    assert "<!subteam^S42>" in worse["text"]
    assert "critical" in first["text"]
    _, _, over = house.look()
    assert (over["thread_ts"], over["broadcast"]) == (first["ts"], False)
    assert "resolved" in first["text"]
    assert "acknowledge" not in words(first)


def test_what_is_better_is_only_edited_and_calls_nobody(room):
    house = room()
    (first,) = house.look(found(severity=Severity.CRITICAL))
    house.courier.clock.now += timedelta(minutes=1)
    assert len(house.look(found(severity=Severity.WARNING))) == 1
    assert "warning" in words(first)
    assert "critical" not in words(first)
    assert len(house.look(found(severity=Severity.CRITICAL))) == 1  # as bad as it was told to be
    assert "critical" in words(first)


def test_what_comes_back_is_said_in_the_same_thread(room):
    house = room()
    first = house.look(found())[0]
    house.courier.clock.now += timedelta(hours=1)
    house.look()
    house.courier.clock.now += timedelta(hours=30)
    back = house.look(found())[-1]
    assert (back["thread_ts"], back["broadcast"]) == (first["ts"], True)
    assert "firing again" in words(back)
    assert "resolved" not in first["text"]


def test_an_acknowledgement_is_seen_in_the_first_message(room):
    house = room()
    (first,) = house.look(found(severity=Severity.CRITICAL))

    with house.courier.store.transaction() as transaction:
        AlertProcessor(transaction, house.courier.policy, house.courier.clock()).acknowledge(
            1, Acknowledgement("ana <!here>")
        )
    house.deliver()
    assert "ana &lt;!here&gt;" in words(first)
    assert '"action_id"' not in words(first)


def test_a_storm_is_one_message_that_names_all(room):
    house = room()
    (storm,) = house.look(*(found(f"t{number}") for number in range(100)))
    assert all(f"public.t{number}*" in words(storm) for number in range(100))
    assert "100 alerts" in storm["text"]
    _, over = house.look(*(found(f"t{number}") for number in range(40)))
    assert over["thread_ts"] == storm["ts"]
    assert "60 alerts" in over["text"]
    assert words(storm).count("✅") == 60
    assert storm["edits"] == 1
    assert house.slack.broken == []


def test_a_thousand_are_one_message_that_counts_the_rest(room):
    house = room()
    (storm,) = house.look(*(found(f"t{number}" * 20) for number in range(1000)))
    assert "1000 alerts" in storm["text"]
    assert "orphans. All: sereno alerts list" in words(storm)
    assert house.slack.broken == []


def test_what_was_taken_though_the_answer_was_lost_is_not_posted_again(room):
    house = room(channel="C0SERENO")
    house.slack.drop = 1
    (first,) = house.look(found())
    house.courier.clock.now += timedelta(minutes=5)
    assert len(house.deliver()) == 1
    _, over = house.look()
    assert over["thread_ts"] == first["ts"]


@pytest.mark.parametrize("sight", [True, False])
def test_where_that_cannot_be_seen_the_second_copy_says_so_and_has_the_same_id(room, sight):
    house = room(channel="C0SERENO" if sight else "#ops")
    house.slack.history = not sight
    house.slack.drop = 1
    house.look(found())
    house.courier.clock.now += timedelta(minutes=5)
    first, second = house.deliver()
    assert first["id"] == second["id"]
    assert "second copy" in words(second)


def test_a_lost_answer_in_a_thread_is_found_there(room):
    house = room()
    house.look(found())
    house.slack.drop = 1
    house.look()
    house.courier.clock.now += timedelta(minutes=5)
    assert len(house.deliver()) == 2


@pytest.mark.parametrize("word", ["message_not_found", "cant_update_message", "edit_window_closed"])
def test_a_first_message_that_cannot_be_edited_keeps_no_answer_back(room, word, monkeypatch):
    house = room()
    house.look(found())
    monkeypatch.setattr(
        house.slack, "_update", lambda _values: (200, {}, {"ok": False, "error": word})
    )
    assert len(house.look()) == 2


def test_an_edit_that_has_to_wait_is_done_before_the_answer_is_posted(room, monkeypatch):
    house = room()
    house.look(found())
    real = house.slack._update
    monkeypatch.setattr(house.slack, "_update", lambda _values: (429, {"Retry-After": "3"}, {"ok": False, "error": "ratelimited"}))  # fmt: skip
    assert len(house.look()) == 1
    monkeypatch.setattr(house.slack, "_update", real)
    house.courier.clock.now += timedelta(seconds=5)
    first, over = house.deliver()
    assert over["thread_ts"] == first["ts"]
    assert "resolved" in first["text"]


def test_one_bad_message_takes_no_other_with_it(room):
    """What was refused together is tried one by one."""
    house = room()
    house.slack.fail = [(200, {}, {"ok": False, "error": "invalid_blocks"})]
    shown = house.look(found("a"), found("b"), found("c"))
    assert len(shown) == 3
    assert {"a", "b", "c"} == {one["text"].rpartition(" ")[2] for one in shown}


def test_what_came_and_went_while_slack_was_away_is_one_line_of_one_late_message(room):
    house = room()
    house.slack.fail = [(503, {}, {})] * 3
    house.look(found("a"), found("b"))
    house.courier.clock.now += timedelta(minutes=20)
    house.look(found("a"))
    house.courier.clock.now += timedelta(minutes=20)
    house.look(found("a"), found("c"))
    house.courier.clock.now += timedelta(minutes=20)
    (digest,) = house.deliver()
    assert "delayed by 60 min" in words(digest)
    assert "fired 02:00, resolved 02:20" in words(digest)
    assert "3 alerts" in digest["text"]


def test_a_catch_up_says_all_in_one_message_and_brings_the_threads_up_to_date(room):
    house = room()
    first = house.look(found("a"))[0]
    second = house.look(found("a"), found("b"))[1]
    house.slack.fail = [(503, {}, {})] * 9
    house.look(found("b"))
    house.courier.clock.now += timedelta(minutes=30)
    house.look(found("c"))
    house.courier.clock.now += timedelta(minutes=30)
    house.slack.fail.clear()
    digest = house.deliver()[-1]
    assert (len(house.slack.messages), digest["thread_ts"]) == (3, None)
    assert "resolved" in first["text"]
    assert "resolved" in second["text"]
    house.look()
    assert house.slack.messages[-1]["thread_ts"] == digest["ts"]


def test_each_severity_calls_whom_it_is_said_to(room):
    house = room(mentions={Severity.HIGH: "U7"})
    high, critical = house.look(found("a")), house.look(found("a"), found("b", Severity.CRITICAL))
    assert "<@U7>" in high[0]["text"]
    assert "<!subteam^S42>" in critical[1]["text"]


def test_app_token_goes_with_a_bot(tmp_path):
    with pytest.raises(ValueError, match="app_token"):
        slack.Options(type="slack", url=Secret(env="X"), app_token=Secret(env="Y"))


def test_a_thread_that_was_deleted_is_begun_anew(room):
    house = room()
    house.look(found())
    house.slack.fail = [(200, {}, {"ok": False, "error": "thread_not_found"})]
    worse = house.look(found(severity=Severity.CRITICAL))[-1]
    assert worse["thread_ts"] is None
    assert house.look()[-1]["thread_ts"] == worse["ts"]


def test_a_catch_up_takes_no_alert_out_of_its_thread(room):
    """What goes on through it is still said, and brought up to date, where it began."""
    house = room()
    first = house.look(found("a"))[0]
    second = house.look(found("a"), found("b"))[1]
    house.slack.fail = [(503, {}, {})] * 9
    house.look(found("a", Severity.CRITICAL), found("b", Severity.CRITICAL))
    house.courier.clock.now += timedelta(minutes=30)
    house.look(found("a", Severity.CRITICAL), found("b", Severity.CRITICAL), found("c"))
    house.courier.clock.now += timedelta(minutes=30)
    house.slack.fail.clear()
    house.deliver()
    assert "critical" in first["text"]
    assert "critical" in second["text"]
    house.look()
    assert "resolved" in first["text"]
    assert "resolved" in second["text"]
