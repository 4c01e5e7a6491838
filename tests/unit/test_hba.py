"""pg_hba.conf: the first rule that matches decides, and the first address with a password is taken."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postgres.catalog.hba import Address, HbaRule, Logins, address_for_passwords, password_line

LOCALHOST = Address("127.0.0.1", "127.0.0.1")
IPV6 = Address("::1", "::1")
SOCKET = Address("/run/postgresql", None)
REMOTE = Address("db.example.org", "10.1.2.3")
LOGINS = Logins(
    ["coop"], ["sereno_data", "sereno_maintain"], {"sereno_maintain": frozenset({"pg_monitor"})}
)
MAINTAIN = Logins(["coop"], ["sereno_maintain"], {"sereno_maintain": frozenset({"pg_monitor"})})
DEBIAN = [
    HbaRule("local", ["all"], ["postgres"], None, None, "peer"),
    HbaRule("local", ["all"], ["all"], None, None, "peer"),
    HbaRule("host", ["all"], ["all"], "127.0.0.1", "255.255.255.255", "scram-sha-256"),
    HbaRule("host", ["all"], ["all"], "::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "scram-sha-256"),
    HbaRule("local", ["replication"], ["all"], None, None, "peer"),
]  # fmt: skip


def rule(
    kind="host", databases=("all",), users=("all",), address="all", netmask=None, method="md5"
):
    return HbaRule(kind, databases, users, address, netmask, method)


def chosen(rules, addresses=(LOCALHOST, IPV6, SOCKET), logins=LOGINS, *, ssl=False):
    return address_for_passwords(rules, addresses, logins, ssl=ssl)


def test_stock_debian_takes_passwords_at_loopback_only():
    assert chosen(DEBIAN) == (LOCALHOST, "scram-sha-256")
    assert chosen(DEBIAN, [SOCKET]) is None
    assert chosen(DEBIAN, [IPV6]) == (IPV6, "scram-sha-256")


def test_earlier_rule_that_refuses_decides():
    assert chosen([rule(users=["sereno_data"], method="reject"), rule()]) is None
    assert chosen([rule(databases=["other"], method="reject"), rule()]) == (LOCALHOST, "md5")


def test_trust_is_taken_only_if_no_address_takes_passwords():
    trusting = [rule(address="127.0.0.1", netmask="255.255.255.255", method="trust")]
    assert chosen(trusting) == (LOCALHOST, "trust")
    assert chosen([*trusting, rule("local", address=None)]) == (SOCKET, "md5")


@pytest.mark.parametrize(
    ("users", "matches"),
    [
        (["+pg_monitor"], False),
        (["+pg_monitor", "sereno_data"], True),
        (["+dba"], False),
        (["/^sereno_"], True),
        (["/["], False),
        (["sereno_data", "sereno_maintain"], True),
        (["sereno_data"], False),
    ],
)
def test_users_by_name_group_and_pattern(users, matches):
    assert (chosen([rule(users=users)]) is not None) is matches


@pytest.mark.parametrize(
    ("databases", "matches"),
    [
        (["coop"], True),
        (["sameuser"], False),
        (["replication"], False),
        (["/^co"], True),
        (["samerole"], False),
    ],
)
def test_databases_by_name_and_pattern(databases, matches):
    assert (chosen([rule(databases=databases)]) is not None) is matches


def test_encrypted_rules_need_server_with_tls():
    assert chosen([rule("hostssl")], ssl=False) is None
    assert chosen([rule("hostssl")], ssl=True) == (LOCALHOST, "md5")
    assert chosen([rule("hostnossl")], ssl=True) is None


def test_networks_and_names():
    assert chosen([rule(address="10.0.0.0", netmask="255.0.0.0")], [REMOTE]) == (REMOTE, "md5")
    assert chosen([rule(address="10.0.0.0", netmask="255.255.0.0")], [REMOTE]) is None
    assert chosen([rule(address="fe80::", netmask="ffff::")], [REMOTE]) is None
    assert chosen([rule(address=".example.org")], [REMOTE]) is None
    undecided = [rule(address="samenet", method="reject"), rule()]
    assert chosen(undecided, [REMOTE]) is None, "only the server knows its networks"
    assert chosen([rule(address="host.example.org", method="reject"), rule()], [REMOTE]) is None
    assert chosen([rule(address="samehost")], [LOCALHOST]) == (LOCALHOST, "md5")


def test_groups_count_for_their_own_members():
    assert chosen([rule(users=["+pg_monitor"])], logins=MAINTAIN) == (LOCALHOST, "md5")
    owned = Logins(["coop"], ["m"], {"m": frozenset({"coop"})})
    assert chosen([rule(databases=["samerole"])], logins=owned) == (LOCALHOST, "md5")


def test_rules_without_gss_encryption_hold_for_every_tcp_connection():
    assert chosen([rule("hostnogssenc", method="reject"), rule()]) is None
    assert chosen([rule("hostnogssenc")]) == (LOCALHOST, "md5")
    assert chosen([rule("hostgssenc"), rule(method="reject")]) is None


def test_database_called_replication_or_all_is_not_a_keyword():
    logins = Logins(["replication"], ["u"])
    assert chosen([rule(databases=["replication"])], logins=logins) is None
    assert password_line(SOCKET, Logins(["all"], ["u"])) == 'local "all" u scram-sha-256'


def test_patterns_of_names_exist_from_16_on():
    old = Logins(["coop"], ["sereno_data"], version=150000)
    assert chosen([rule(users=["/^sereno_"])], logins=old) is None


def test_rules_with_an_error_are_left_out():
    wrong = HbaRule(None, None, None, None, None, None, "invalid authentication method")
    assert chosen([wrong, rule()]) == (LOCALHOST, "md5")
    assert chosen([], [LOCALHOST], Logins([], [])) is None


def test_missing_line_names_hostile_databases_as_the_file_spells_them():
    logins = Logins(['we "ird'], ["sereno_data"])
    assert password_line(SOCKET, logins) == 'local "we ""ird" sereno_data scram-sha-256'
    assert password_line(REMOTE, logins).endswith(" 10.1.2.3/32 scram-sha-256")
    assert password_line(IPV6, logins).endswith(" ::1/128 scram-sha-256")


@given(st.lists(st.sampled_from(DEBIAN), max_size=6), st.ip_addresses())
def test_answer_is_a_rule_of_the_list(rules, client):
    address = Address(str(client), str(ipaddress.ip_address(client)))
    answer = address_for_passwords(rules, [address], LOGINS, ssl=True)
    assert answer is None or answer[1] in {one.method for one in rules}
