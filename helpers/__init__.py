"""Small, real experiments in making AI cheaper: see helpers.lab for the common ground.

Nothing heavy is imported here, so that a page which only shows recorded results opens fast. What runs here is nobody
else's business: libraries that report their use to their makers are asked not to, before any of them is imported.
Whoever set one of these variables has decided, and keeps it.
"""

import logging
import os
import sys

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime: names, sizes and hashes of models, since 1.29
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # Hugging Face's libraries
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
sys.modules.setdefault("openvino_telemetry", None)  # OpenVINO and NNCF have a stub for where this is not installed
# transformers' models import torchao, which warns at import that its GPU kernels do not load, with the folders' names.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)
