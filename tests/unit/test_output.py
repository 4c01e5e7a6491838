"""Terminal output of names that anybody may have chosen."""

import os
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from daemon.cli import output
from retention.files.delete_files import DeleteFiles, File, FileRule

HOSTILE = (b"\xff\xfe.log", b"\x1b]0;title\x07.log", b"a\nb.log", "\u202egol.b".encode())


@given(st.text())
def test_printable_text_has_no_control_or_direction_characters(text):
    shown = output._ESCAPES.sub("", output.printable(text))
    bad = {unicodedata.category(character) for character in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert not bad
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@given(st.text(st.characters(categories=("L", "N", "P", "Zs"))))
def test_printable_text_of_ordinary_characters_is_unchanged(text):
    coloured = f"\x1b[31m{text}\x1b[0m"
    assert output.printable(coloured) == coloured


def test_command_with_hostile_file_names_is_printed_on_one_line_each(capsys):
    files = [File(os.fsdecode(name), 1, 1, 1.0, 1, 1) for name in HOSTILE]
    rule = FileRule("/var/log/x/*.log", 1.0, 1, 10, 0.9, None, None)
    step = DeleteFiles(object="/var/log/x/*.log", rule=rule, files=files)
    output.verbatim(step.statement())
    shown = capsys.readouterr().out
    assert "\\udcff\\udcfe.log" in shown
    assert "\\x1b]0;title\\x07.log" in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_statement_is_not_split_inside_a_name(capsys):
    from daemon.cli.finding_lines import print_finding

    finding = {"severity": "high", "database": "main", "kind": "k", "object": "o", "summary": "s"}
    name = 'public."<b>x""; DROP--y"'
    print_finding(finding | {"remedy": f"ALTER TABLE {name} SET LOGGED; or drop it"})
    assert f"    ALTER TABLE {name} SET LOGGED;\n    or drop it\n" in capsys.readouterr().out
    print_finding(finding | {"remedy": f"ALTER TABLE {name} SET LOGGED;"})
    assert f"    ALTER TABLE {name} SET LOGGED;\n" in capsys.readouterr().out
