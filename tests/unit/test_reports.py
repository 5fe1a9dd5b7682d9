"""No library reports to its maker what is run here: each does by default, and is asked not to before it is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUIET = ("CI", "TF_BUILD", "JENKINS_URL", "ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED", "HF_HUB_DISABLE_TELEMETRY",
         "DISABLE_TELEMETRY", "DO_NOT_TRACK", "RAY_USAGE_STATS_ENABLED", "HF_HUB_OFFLINE", "NNCF_CI", "NNCF_DEV")
SESSION = """
import numpy as np
from onnx import TensorProto, helper
import onnxruntime
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "secret", [
    helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])], [
    helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
session.run(None, {"x": np.ones(1, np.float32)})
"""


def run(code: str, folder: Path, **more: str) -> str:
    """What code prints in a fresh process with no word about reports in its environment, its files in a folder."""
    environment = {name: value for name, value in os.environ.items() if name not in QUIET}
    environment |= {"TMPDIR": str(folder), "HOME": str(folder), "XDG_CACHE_HOME": str(folder), **more}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True,
                          check=True)
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the identifier lies in another place")
def test_onnx_runtime_makes_no_identifier_to_report_with(tmp_path):
    run("import helpers\n" + SESSION, tmp_path)
    left = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert left == [], "its session, its device, or what it could not send yet"


def test_openvino_and_nncf_have_their_stubs(tmp_path):
    assert run("import helpers, nncf.telemetry.wrapper as nncf\nfrom openvino.tools.ovc import telemetry_utils as ovc\n"
               "print(type(nncf.telemetry).__name__, ovc.tm.__name__)", tmp_path) == (
        "MagicMock openvino.tools.ovc.telemetry_stub")


def test_hugging_face_and_ray_are_asked_not_to(tmp_path):
    assert run("import helpers, os\nfrom huggingface_hub import constants\n"
               "print(constants.HF_HUB_DISABLE_TELEMETRY, os.environ['RAY_USAGE_STATS_ENABLED'])", tmp_path) == "True 0"


def test_whoever_has_decided_keeps_the_decision(tmp_path):
    assert run("import helpers, os\nprint(os.environ['ORT_DISABLE_TELEMETRY'])", tmp_path,
               ORT_DISABLE_TELEMETRY="0") == "0"
