"""One process of a layout: loads a model, waits for 'go', answers for some seconds. Started by `compare_layouts`."""

import json
import os
import sys
import time

from helpers.lab.machine import peak_resident_bytes
from helpers.lab.models.model import Model, load


def main() -> None:
    """Read one line of settings, say 'ready', read 'go', and print what was done as JSON."""
    settings = json.loads(sys.stdin.readline())
    if settings["cores"]:
        os.sched_setaffinity(0, settings["cores"])
    model = load(settings["folder"])
    use_threads(model, settings["threads"])
    texts, batch = settings["texts"], settings["batch"]
    model.predict(texts[:batch])
    print("ready", flush=True)
    sys.stdin.readline()
    calls, rows, began = [], 0, time.perf_counter()
    while (at := time.perf_counter()) - began < settings["seconds"]:
        part = [texts[(rows + step) % len(texts)] for step in range(batch)]
        model.predict(part)
        rows += batch
        calls.append(time.perf_counter() - at)
    print(json.dumps({"rows_per_s": rows / (time.perf_counter() - began), "calls_s": calls,
                      "peak_bytes": peak_resident_bytes()}))


def use_threads(model: Model, count: int) -> None:
    """Let the model compute with so many threads, whatever the number of cores."""
    if model.runtime == "onnxruntime":
        from helpers.lab.models.onnx import session

        model.session = session(model.graph, count)
    elif model.runtime == "pytorch":
        import torch

        torch.set_num_threads(count)


if __name__ == "__main__":
    main()
