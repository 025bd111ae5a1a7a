"""The command line: harmonia demo [port=8501]."""

if __name__ == "__main__":
    from harmonia.cli.early import answer_signals

    answer_signals()

import importlib
import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from harmonia.cli.entry import keyword_command
from harmonia.errors import InputError

USAGE = """\
A page in your browser: one image, two networks, what the map keeps, and what any mask of that area keeps.

    harmonia demo [port=8501]

Only this machine can open it. Needs pip install '.[demo]'. Ctrl-C ends it.
"""

SCRIPT = Path(__file__).with_name("page.py")


def main(words: Sequence[str] | None = None) -> int:
    return keyword_command(_serve, words, USAGE, ("port",), "harmonia.demo", needed=())


def _serve(words: dict[str, str]) -> int:
    port = words.get("port", "8501")
    if not (re.fullmatch("[0-9]{4,5}", port) and 1024 <= int(port) <= 65535):
        raise InputError(f"port must be a whole number from 1024 to 65535, got {port!r}; write port=8501")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Streamlit does
        try:
            probe.bind(("127.0.0.1", int(port)))
        except OSError as error:
            raise InputError(f"port must be free, got {port}: {error.strerror}; name another, as port=8502") from error
    try:
        from streamlit.web import bootstrap
    except ModuleNotFoundError as error:
        raise InputError("harmonia demo needs Streamlit, which is not installed; pip install '.[demo]'") from error

    importlib.import_module("harmonia.demo.verdicts")  # torch is here before the first visitor

    options = {
        "server.address": "127.0.0.1",
        "server.port": int(port),
        "server.headless": True,
        "server.fileWatcherType": "none",
        "server.maxUploadSize": 20,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
    }
    bootstrap.load_config_options(options)
    print(f"harmonia demo: http://127.0.0.1:{port}", flush=True)
    bootstrap.run(str(SCRIPT), False, [], options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
