"""Text files that a user gives: lists of names and tables."""

import codecs
import csv
import errno
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from unicodedata import normalize

from harmonia.data.decode import open_file
from harmonia.errors import InputError

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def composed(name: str) -> str:
    """The name in Unicode's composed form (NFC): a Mac writes the ü of a folder's name as two characters."""
    return normalize("NFC", name)


def spellings(path: str) -> tuple[str, ...]:
    """The forms in which a disk may hold a path: as written, composed, decomposed."""
    return path, composed(path), normalize("NFD", path)


def read_text(path: Path, subject: str, option: str) -> str:
    """A file's text in UTF-8, with or without a byte-order mark; subject and option are words of the refusal."""
    try:
        with open_file(path) as file:
            content = file.read()
    except OSError as error:
        if error.errno == errno.ENODATA:  # it is empty
            return ""
        raise InputError(f"{subject} {path} cannot be read: {error.strerror or error}; set {option}=FILE") from error
    with suppress(UnicodeDecodeError):
        if b"\0" not in content:
            return content.decode("utf-8-sig")
    encoding = "UTF-16" if b"\0" in content or content.startswith(_UTF16) else "WINDOWS-1252"
    raise InputError(
        f"{subject} {path} must be text in UTF-8, it seems to be {encoding}; save it as UTF-8 in an editor, or run "
        f"iconv -f {encoding} -t UTF-8 FILE > NEW and set {option}=NEW"
    )


def read_names(path: Path, subject: str, option: str) -> tuple[str, ...]:
    """Names of classes, one a line, in order; a file of one line may part them by commas."""
    text = read_text(path, subject, option)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) == 1:
        lines = [name.strip() for name in lines[0].split(",") if name.strip()]
    return tuple(composed(line) for line in lines)


def read_rows(path: Path, columns: Sequence[str], option: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and rows of a CSV file; every one of the columns has a text, others are left out."""
    reader = csv.DictReader(io.StringIO(read_text(path, f"{option}:", option), newline=""), strict=True)
    try:
        names = [name.strip() for name in reader.fieldnames or ()]
        if lacking := [name for name in columns if name not in names]:
            raise InputError(
                f"{option} must have the columns {','.join(columns)}, {path} lacks {', '.join(lacking)}; "
                "add them to its first line"
            )
        if twice := [name for name in columns if names.count(name) > 1]:
            raise InputError(f"{option}: {path} must have each column once, got {twice[0]} twice; leave one out")
        reader.fieldnames = names
        for row in reader:
            if more := [text for text in row.get(None, ()) if text.strip()]:  # pyright: ignore
                rule = f"must have {len(names)} values, got {more[0]!r} too"
                raise InputError(f"{option}: {path} line {reader.line_num} {rule}; quote a value that has a comma")
            texts = {name: (row[name] or "").strip() for name in columns}
            if empty := [name for name, text in texts.items() if not text]:
                raise InputError(f"{option}: {path} line {reader.line_num} must have a value for {empty[0]}; add it")
            yield reader.line_num, texts
    except csv.Error as error:
        raise InputError(f"{option} must be a readable CSV file, got {path}: {error}; give {option}=FILE") from error
