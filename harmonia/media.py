"""Text from names, files and errors as each medium shows it and acts on none of it: one function a medium."""

import logging
import re
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# control characters, marks of writing direction and other invisible ones, halves of characters, ends of lines
_ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # within words of some scripts, and within emojis
_MARKDOWN = str.maketrans({character: "\\" + character for character in "\\|`*$~#@"} | {"&": "&amp;", "<": "&lt;"})
_NAMED = {"\\": "backslash", "~": "asciitilde", "^": "asciicircum", "<": "less", ">": "greater", "|": "bar"}
_NAMED |= {"\N{DAGGER}": "dagger", "\N{DOUBLE DAGGER}": "daggerdbl"}
_LATEX = {ord(character): f"\\text{name}{{}}" for character, name in _NAMED.items()} | str.maketrans(
    {character: "\\" + character for character in "&%$#_{}"}
    | {"\N{EN DASH}": "--", "↑": r"$\uparrow$", "↓": r"$\downarrow$"}
)


def visible(text: str) -> str:
    r"""For the terminal, and the ground of all others: what is not seen is written out, as \x1b or \u202e."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in _ACTING and character not in _JOINERS
        else character
        for character in text
    )


def csv(value: Any) -> Any:
    """A cell: what a spreadsheet would compute, after a semicolon too, gets an apostrophe; numbers are as they are."""
    number = r"[-+][\d.,\s%\[\]–-]*((?<=\d)e[-+]?\d+|inf)?"
    # where a comma writes fractions, a semicolon ends a cell
    acting = rf"(^|;)(?=\s*[-=+@＝＋－＠])(?!\s*{number}(;|$))"
    return re.sub(acting, r"\1'", visible(value)) if isinstance(value, str) else value


def markdown(text: str) -> str:
    """A cell or a paragraph without a link, an element or an emphasis of its own."""
    text = visible(" ".join(text.split())).translate(_MARKDOWN)
    text = re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)
    text = re.sub(r"^(\[[^\]]*\]):", r"\1\:", text)  # which names a link, at the beginning alone
    return re.sub(r"(?<=\])(?=[(\[])|(?=://)|(?<=www)(?=\.)", r"\\", text)


def latex(text: str) -> str:
    return visible(" ".join(text.split())).translate(_LATEX)


def html(value: Any) -> Any:
    """For Jinja's finalize: text made visible, which is then escaped; all else as it is, markup among it."""
    return visible(value) if type(value) is str else value


def number_of(number: int, noun: str) -> str:
    """1 image, 1,000 images."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def say(line: object, file: Any = None) -> None:
    """On stdout, or to another file."""
    print(visible(str(line)), file=file)


def terminal(width: int) -> "Console":
    """Rich's, of so many columns where stdout is none; neither brackets nor colons mean anything in it."""
    from rich.console import Console

    # a pipe has no width of its own, and a table folded at 80 columns cannot be read
    return Console(width=None if sys.stdout.isatty() else width, markup=False, emoji=False, highlight=False)


class LogLine(logging.Formatter):
    """A message is one line, of which the terminal sees every character; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        if record.name.partition(".")[0] == "harmonia":  # others' messages may be tables
            record.message = visible(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(visible, super().format(record).expandtabs().split("\n")))
