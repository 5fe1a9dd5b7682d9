"""Names of a package that are imported when they are first used, so that a page opens without torch."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazily(package: str, home: Mapping[str, str]) -> Callable[[str], Any]:
    """The package's `__getattr__`: exported name -> the object of that name in its module, remembered.

    Args:
        package: its full name.
        home: exported name -> module of the package.
    """
    def find(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"{package} has no '{name}'")
        value = getattr(importlib.import_module(f"{package}.{home[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return find
