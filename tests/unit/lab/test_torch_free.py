"""What pages import when they open brings no torch with it: facades, options and all that shows records."""

import subprocess
import sys
from pathlib import Path

import helpers

ROOT = Path(helpers.__file__).parent
LAB = ["helpers.lab", "helpers.lab.cache", "helpers.lab.data.task", "helpers.lab.measuring.comparison",
       "helpers.lab.measuring.ledger", "helpers.lab.measuring.measurement", "helpers.lab.measuring.recorded",
       "helpers.lab.measuring.timing", "helpers.lab.models.model", "helpers.lab.models.onnx",
       "helpers.lab.models.openvino", "helpers.lab.models.sklearn", "helpers.lab.models.static",
       "helpers.lab.money.costs", "helpers.lab.progress"]


def modules() -> list[str]:
    """helpers itself, each room's facade and options, and the parts of lab that need no torch."""
    facades = [f"helpers.{path.parent.name}" for path in sorted(ROOT.glob("*/__init__.py"))]
    options = [f"helpers.{path.parent.name}.options" for path in sorted(ROOT.glob("*/options.py"))]
    return ["helpers", *facades, *options, *LAB]


def test_no_torch_below_a_facade_or_its_options():
    code = ("import importlib, sys\n"
            "for name in sys.argv[1:]:\n"
            "    importlib.import_module(name)\n"
            "    if 'torch' in sys.modules:\n"
            "        sys.exit(f'{name} imports torch')\n")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, *modules()], capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def test_facades_and_options_are_found():
    assert {"helpers.app", "helpers.model_optimization", "helpers.model_optimization.options"} <= set(modules())
