"""The file of rows: one JSON object a line, appended as soon as it is known."""

import json
import os

FILE = "results.jsonl"
ENDED = "ended"  # the key of a step's last row, which the runner writes: "done", or what was in the way


def append(path, row):
    """Add a row, and see to it that it is on the disk."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read(path):
    """All rows; a last line that was cut off is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def by_step(rows):
    """{step: its rows since it last began}, without the row that says that it began."""
    found = {}
    for row in rows:
        if "began" in row:
            found[row["step"]] = []
        else:
            found.setdefault(row["step"], []).append(row)
    return found


def how_it_ended(rows):
    """What the runner wrote of a step, or that it was cut off."""
    return next((row[ENDED] for row in rows if ENDED in row), "cut off")
