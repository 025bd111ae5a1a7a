"""What tests ran of each room of harmonia/, as a table, from the JSON of coverage.py: make coverage does both."""

import json
import sys
from collections import Counter
from pathlib import Path


def main() -> None:
    lines, run = Counter[str](), Counter[str]()
    for name, facts in json.loads(Path(sys.argv[1]).read_text())["files"].items():
        parts = name.split("/")[1:]
        room = f"{parts[0]}/" if len(parts) > 1 else "commands, vocabulary"
        lines[room] += facts["summary"]["num_statements"]
        run[room] += facts["summary"]["covered_lines"]
    lines["all"], run["all"] = lines.total(), run.total()
    print("| room of harmonia/ | lines | run |\n| --- | ---: | ---: |")
    for room in [*sorted(lines.keys() - {"all"}), "all"]:
        print(f"| {room} | {lines[room]:,} | {100 * run[room] / lines[room]:.1f} % |")


if __name__ == "__main__":
    main()
