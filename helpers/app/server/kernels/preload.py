"""Importing this imports what the pages need; see `forking`.

What another version of a package does not have, or cannot import alone, the kernels import themselves, as ever.
"""

import gc
import importlib
import warnings

from helpers.app.server.kernels.forking import MODULES

with warnings.catch_warnings(action="ignore"):  # nobody's here: whoever uses a module in a wrong way is warned there
    for name in MODULES.read_text(encoding="utf-8").split():
        try:
            importlib.import_module(name)
        except Exception:  # packages fail in all ways, and the server must come up
            continue

gc.collect()
gc.freeze()  # a collection would write to all pages of the memory that the copies share
