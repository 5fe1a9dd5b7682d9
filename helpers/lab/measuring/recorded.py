"""Result tables of a real run, shipped with the machine that they were measured on."""

import datetime
import json
from pathlib import Path

import pandas as pd

from helpers.lab.errors import InputError
from helpers.lab.machine import describe, fingerprint
from helpers.lab.paths import write_atomically


def write_table(path: Path, frame: pd.DataFrame, data: str | None = None) -> None:
    """Write a result's rows as JSON, with this machine's fingerprint, the time, and the name of the data, if any.

    Raises:
        InputError: the frame has no rows.
    """
    if frame.empty:
        raise InputError(f"There is nothing to record in {path.name}: the table has no rows.")
    rows = json.loads(frame.to_json(orient="records", double_precision=12, date_format="iso"))
    content = {"measured_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "data": data,
               "machine": fingerprint(), "columns": [str(column) for column in frame.columns], "rows": rows}
    write_atomically(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def read_table(path: Path) -> pd.DataFrame:
    """The rows that `write_table` wrote; `attrs` has `machine` (a sentence), `measured_at` and `origin`.

    The origin is what charts tell beside the figures: 'Recorded on tickets: some CPU, 2026-11-23'.

    Raises:
        InputError: no such file, or it is not a recorded table.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        frame = pd.DataFrame(content["rows"], columns=content["columns"])
        machine = content["machine"]
        place = f"{machine['gpu'] or machine['cpu']}, {content['measured_at'][:10]}"
        frame.attrs = {"machine": describe(machine), "measured_at": content["measured_at"],
                       "origin": f"Recorded on {content['data']}: {place}" if content.get("data")
                       else f"Recorded on {place}"}
    except FileNotFoundError:
        raise InputError(f"There is no recorded table {path.name}.") from None
    except (json.JSONDecodeError, KeyError, TypeError):
        raise InputError(f"{path.name} is no recorded table: record it again with make record.") from None
    return frame
