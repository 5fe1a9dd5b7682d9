"""Bytes of many tenants on paper, for pages that must not import torch."""

from collections.abc import Sequence

import pandas as pd

from helpers.lab.errors import InputError


def tenant_bytes(model_bytes: int, delta_bytes: float, tenants: Sequence[int]) -> pd.DataFrame:
    """On paper: N whole models against one base and N adapters. Columns tenants, models, adapters, ratio.

    `ratio` is of the adapters' total over one model.

    Raises:
        InputError: fewer than one tenant, or a size below 0.
    """
    if min(tenants, default=0) < 1 or model_bytes <= 0 or delta_bytes < 0:
        raise InputError("Count tenants from 1 on, and give the bytes of a model and of an adapter.")
    rows = [{"tenants": count, "models": count * model_bytes, "adapters": model_bytes + count * delta_bytes,
             "ratio": (model_bytes + count * delta_bytes) / model_bytes} for count in tenants]
    return pd.DataFrame(rows)
