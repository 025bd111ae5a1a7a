"""What a name could make a medium do, and that it is text there."""

import csv as csv_files
import io
import logging
import logging.config
import unicodedata

import jinja2
import pandas as pd
import pytest
import yaml
from paths import REPOSITORY

from harmonia.errors import InputError, home
from harmonia.job.completion import progress_bar
from harmonia.media import LogLine, csv, html, latex, markdown, say, terminal, visible
from harmonia.report.tables.typeset import to_csv

PLAIN = ["", "soft 30 %", "ü 狗 \N{DOG FACE}", "👩\u200d💻", "می\u200cخواهم", "a–b → c", "l'œil", "3\u00a0000"]
ACTING = {
    "\x1b[31mred": r"\x1b[31mred",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "\x9b2J": r"\x9b2J",
    "a\rb": r"a\rb",
    "a\nb\tc": r"a\nb\tc",
    "\u202egnp.exe": r"\u202egnp.exe",
    "\u2066x\u2069": r"\u2066x\u2069",
    "a\u2028b": r"a\u2028b",
    "dog\udcff": r"dog\udcff",
    "a\0b\x7f\x85": r"a\x00b\x7f\x85",
    "\U000e0041\ufeff": r"\U000e0041\ufeff",
}


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_plain_stays_as_it_is(text):
    assert visible(text) == text
    assert csv(text) == html(text) == text


@pytest.mark.parametrize(("text", "shown"), ACTING.items())
def test_what_acts_is_written_out_in_every_medium(text, shown, capsys):
    assert visible(text) == shown
    say(text)
    assert capsys.readouterr().out == f"{shown}\n"
    for written in (visible(text), csv(text), markdown(text), latex(text), str(html(text))):
        assert not {unicodedata.category(character) for character in written} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+A1", "@SUM(A1)", '=HYPERLINK("x")', "-E5", "＝1"])
def test_a_cell_that_a_spreadsheet_would_compute_is_text(text):
    assert csv(text) == f"'{text}"
    frame = pd.DataFrame({text: [text], "category": pd.Categorical([text]), "number": [-1.5], "none": [None]})
    (heads, cells) = csv_files.reader(io.StringIO(to_csv(frame)))
    assert heads == [f"'{text}", "category", "number", "none"]
    assert cells == [f"'{text}", f"'{text}", "-1.5", ""]


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a;=cmd()", "a;'=cmd()"), ("a; -2;+x\n=1", r"a; -2;'+x\n=1"), (";;@SUM(A1)", ";;'@SUM(A1)"), (" =1", "' =1")],
)
def test_nor_does_it_behind_a_semicolon_or_a_line(text, shown):
    assert csv(text) == shown
    assert csv("1; -2.5 [-3, 1]; x-1") == "1; -2.5 [-3, 1]; x-1"


@pytest.mark.parametrize("cell", [-1.5, "-1.5", "+3", "-2.2 [-6.1, 10.3]", "-1.5e-05", "-inf", "-", float("nan"), None])
def test_numbers_stay_numbers(cell):
    assert csv(cell) is cell or csv(cell) == cell


def test_a_tab_and_a_return_begin_no_cell():
    assert csv("\t=1+1") == r"\t=1+1"
    assert csv("\r=1+1") == r"\r=1+1"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[x](http://evil)", r"[x]\(http\://evil)"),
        ("![x](//evil)", r"![x]\(//evil)"),
        ("[x][y]", r"[x]\[y]"),
        ("[y]: x", r"[y]\: x"),
        ("none, [–]: x", "none, [–]: x"),
        (r"[x]\(y)", r"[x]\\(y)"),
        ("<img src=x>", "&lt;img src=x>"),
        ("https://evil www.evil.com a@evil.com", r"https\://evil www\.evil.com a\@evil.com"),
        ("*a* _b_ ~~c~~ `d` $e$ # f", r"\*a\* \_b\_ \~\~c\~\~ \`d\` \$e\$ \# f"),
        ("a|b\nc", r"a\|b c"),
        ("&lt;", "&amp;lt;"),
        ("soft_arm 94.0 [92.1, 95.3], p < 0.05", "soft_arm 94.0 [92.1, 95.3], p &lt; 0.05"),
    ],
)
def test_markdown_has_no_link_element_or_emphasis_of_a_name(text, shown):
    assert markdown(text) == shown


def test_latex_commands_are_text():
    assert latex(r"\input{/etc/passwd} 100% $x$ a_b") == (r"\textbackslash{}input\{/etc/passwd\} 100\% \$x\$ a\_b")


def test_a_page_shows_names_and_keeps_the_markup_of_its_own():
    pages = jinja2.Environment(autoescape=True, finalize=html)
    template = pages.from_string("{% macro own(x) %}<b>{{ x }}</b>{% endmacro %}{{ own(name) }} {{ 3 }}")
    assert template.render(name="<i>\x1b\u202e") == r"<b>&lt;i&gt;\x1b\u202e</b> 3"


def test_brackets_and_colons_are_no_markup_in_the_terminal(capsys, monkeypatch):
    terminal(80).print("[/red] :smile: [b]x[/b]")
    assert capsys.readouterr().out == "[/red] :smile: [b]x[/b]\n"
    monkeypatch.setenv("FORCE_COLOR", "1")  # Rich takes stderr for a terminal
    with progress_bar("[/red]\x1b[31m", 1) as advance:
        advance(1)
    assert r"[/red]\x1b[31m" in capsys.readouterr().err


def test_a_message_is_one_line_and_a_traceback_keeps_its_lines():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LogLine("%(message)s"))
    logger = logging.getLogger("harmonia.test_media")
    logger.addHandler(handler)
    try:
        try:
            raise ValueError("\x1b[31m")
        except ValueError:
            logger.exception("class folder %s", "a\nharmonia: all is well\x1b")
    finally:
        logger.removeHandler(handler)
    lines = stream.getvalue().splitlines()
    assert lines[0] == r"class folder a\nharmonia: all is well\x1b"
    assert lines[1].startswith("Traceback")
    assert lines[-1] == r"ValueError: \x1b[31m"


def test_an_indent_of_anothers_log_line_stays_one():
    record = logging.LogRecord("hydra", logging.INFO, "", 0, "\t#0 : method=gc", (), None)
    assert LogLine("%(message)s").format(record) == "        #0 : method=gc"


@pytest.mark.parametrize("kind", ["hydra_logging", "job_logging"])
def test_every_log_is_written_so(kind):
    settings = yaml.safe_load((REPOSITORY / "conf/hydra" / kind / "harmonia.yaml").read_text())
    for name, handler in settings["handlers"].items():
        assert settings["formatters"][handler["formatter"]]["class"] == "harmonia.media.LogLine", name
    logging.config.DictConfigurator(settings).configure_formatter(settings["formatters"]["short"])


def test_an_error_acts_on_no_terminal_whoever_prints_it():
    assert str(InputError("a\x1b[31m \u202e\udcff\n  b")) == r"a\x1b[31m \u202e\udcff b"
    with pytest.raises(InputError, match=r"^a\\x00b: a path must be one of files, got a NUL in it; write another$"):
        home("a\0b")
