"""Models that transformers reads from a folder: whole, and without running any code of the folder."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PretrainedConfig

from helpers.lab.errors import InputError


def read_checkpoint(kind: Any, folder: Path, may_lack: str | None = None) -> nn.Module:
    """A model of a folder in fp32, by one of transformers' Auto classes; no code of the folder is ever run.

    Args:
        may_lack: part of the names of weights that are not used here, such as an encoder's pooler.

    Raises:
        InputError: the folder is damaged, needs code of its own, or lacks weights, which would stay random.
    """
    try:
        module, info = kind.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False,
                                            output_loading_info=True)
    except Exception as error:  # damage shows in many ways: JSON, safetensors, shapes, code that is refused
        reason = str(error).strip().split("\n")[0].rstrip(".")[:160]
        raise InputError(f"The model in '{folder.name}' cannot be read ({type(error).__name__}: {reason}). Its code is "
                         "never run; if it needs none, the files are damaged: get them again.") from error
    lacking = sorted(name for name in info["missing_keys"] if may_lack is None or may_lack not in name)
    if lacking or info["mismatched_keys"]:
        names = ", ".join(lacking[:3] or [str(next(iter(info["mismatched_keys"]))[0])])
        raise InputError(f"The model in '{folder.name}' lacks weights that it needs ({names}): they would stay random. "
                         "Give a checkpoint that was trained for classifying, or train one: "
                         "baseline(task, encoder=...).")
    return module


def read_config(folder: Path) -> PretrainedConfig:
    """The configuration of a folder; no code of the folder is ever run.

    Raises:
        InputError: it is damaged, or needs code of its own.
    """
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # JSON, unknown architectures, code that is refused
        reason = str(error).strip().split("\n")[0].rstrip(".")[:160]
        raise InputError(f"The configuration of '{folder.name}' cannot be read ({type(error).__name__}: {reason}). "
                         "Code of its own is never run.") from error
