"""The other end of a cold start: loads a saved model, answers once, prints its peak bytes. Started by `cold_start`."""

import json
import sys

from helpers.lab.machine import peak_resident_bytes
from helpers.lab.models.model import load


def main() -> None:
    """Read {"folder", "texts", "make": [runtime, precision] or null} from standard input."""
    told = json.load(sys.stdin)
    model = load(told["folder"])
    if told["make"]:
        from helpers.hardware_codesign.runtimes.candidates import make, option

        model = make(model, option(*told["make"]))
    model.predict(told["texts"])
    print(peak_resident_bytes())


if __name__ == "__main__":
    main()
