"""GuideLLM's load test, run as its own program: it brings its own pins, so it is installed beside this project.

uv venv guidellm && uv pip install -p guidellm guidellm==0.8.1, and GUIDELLM=guidellm/bin/guidellm names it.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROGRAM = "GUIDELLM"  # the environment variable
SHARES = ("p50", "p95")


def program() -> str | None:
    """Where GuideLLM is; None where it is not installed."""
    return os.environ.get(PROGRAM) or shutil.which("guidellm")


def load(found: str, url: str, rate: float, count: int, answer_tokens: int) -> dict[str, float]:
    """Seconds by figure, see `figures`, of `count` requests at a constant rate to the model 'paced' at `url` (…/v1).

    Raises:
        subprocess.CalledProcessError: it ended with an error.
        ValueError: a request had no answer.
    """
    with tempfile.TemporaryDirectory() as folder:
        texts, report = Path(folder) / "texts.txt", Path(folder) / "report.json"
        texts.write_text("How are you?\n" * count, encoding="utf-8")
        subprocess.run([
            found, "run", "--disable-console", "--profile", f"kind=constant,rate={rate}",
            "--constraint", f"kind=max_requests,count={count}", "--data", f"kind=text_file,path={texts}",
            "--output", f"kind=json,path={report}", "--backend",
            f"kind=openai_http,target={url.removesuffix('/v1')},model=paced,request_format=/v1/chat/completions,"
            f"validate_backend=false,max_tokens={answer_tokens}"],
            check=True, capture_output=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        [benchmark] = json.loads(report.read_text(encoding="utf-8"))["benchmarks"]
    if (answered := benchmark["metrics"]["request_totals"]["successful"]) < count:
        raise ValueError(f"GuideLLM got {answered} of {count} answers.")
    return figures(benchmark["metrics"])


def figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """p50 and p95 of the time to the first token, of a further one, and to the last, in seconds from the sending.

    >>> from benchmarks.peers.guidellm import figures
    >>> shares = {"successful": {"percentiles": {"p50": 20.0, "p95": 30.0}}}
    >>> names = ("time_to_first_token_ms", "inter_token_latency_ms", "request_latency")
    >>> figures(dict.fromkeys(names, shares))["p95 first"]
    0.03
    """
    return {f"{share} {name}": metrics[key]["successful"]["percentiles"][share] / scale
            for name, key, scale in (("first", "time_to_first_token_ms", 1e3),
                                     ("further", "inter_token_latency_ms", 1e3), ("last", "request_latency", 1.0))
            for share in SHARES}
