"""Write the results that the pages open on, from a real run on this machine: make record.

python -m recording
"""

from pathlib import Path

import helpers
from helpers.lab import baseline, compare, export, load_task, write_recorded
from helpers.lab.progress import printed
from helpers.model_optimization import quantize
from recording import data_efficiency, efficient_architectures, hardware_codesign, model_optimization

FOLDER = Path(helpers.__file__).parent / "facts" / "recorded"


def record_quantization() -> None:
    """The candidates of notebook 1, losing ones included."""
    task = load_task("tickets")
    base = baseline(task)
    models = [
        base,
        export(base, "onnxruntime"),
        export(base, "onnxruntime", streams=2),
        quantize(base, task, "dynamic-int8"),
        quantize(base, task, "dynamic-int8", per_channel=False),
        quantize(base, task, "dynamic-int8", reduce_range=True),
        quantize(base, task, "dynamic-int8", streams=2),
        quantize(base, task, "static-int8", streams=2),
        quantize(base, task, "static-int8", "openvino", streams=2),
        quantize(base, task, "bf16"),
        *(quantize(base, task, "weight-only", bits=bits) for bits in (4, 2)),
    ]
    result = compare(models, task, rows=96, progress=printed)
    write_recorded(FOLDER / "1_model_optimization.jsonl", list(result.measurements))
    print(result.frame().round(3).to_string(index=False))


if __name__ == "__main__":
    record_quantization()
    for one in (model_optimization, efficient_architectures, hardware_codesign, data_efficiency):
        print(one.__name__, flush=True)
        one.record()
