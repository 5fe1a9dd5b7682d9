"""A panel as a script that runs alone: its computation's source, what that uses, and a call with these settings."""

import ast
import builtins
import dataclasses
import dis
import inspect
import math
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from helpers.lab.errors import InputError


def panel_script(compute: Callable[..., Any], settings: Mapping[str, Any]) -> str:
    """Write a script that measures with these settings, prints a summary of the records, and writes them as CSV.

    Raises:
        InputError: compute is not a plain function, or uses something that cannot be written as code.
    """
    script = _Script()
    name = script.function(compute)
    call = f"app.run({', '.join([name, *script.arguments(settings)])})"
    script.imports.add("from helpers import app")
    return script.text("if __name__ == '__main__':", f"    records = {call}", "    print(app.finding(records))",
                       "    print(app.as_csv(records), end='')")


def explore_script(compute: Callable[..., Any], settings: Mapping[str, Any]) -> str:
    """Write a script that computes the result on the screen, and prints it; errors as of `panel_script`."""
    script = _Script()
    name = script.function(compute)
    return script.text(f"result = {name}({', '.join(script.arguments(settings))})", "print(result)")


class _Script:
    """Collects imports and definitions, each before what uses it."""

    def __init__(self) -> None:
        self.imports: set[str] = set()
        self._parts: dict[str, str] = {}

    def text(self, *end: str) -> str:
        """The whole script; `end` are its last lines."""
        parts = [part for part in self._parts.values() if part]
        return "\n\n\n".join(["\n".join(sorted(self.imports)), *parts, "\n".join(end)]).lstrip("\n") + "\n"

    def arguments(self, settings: Mapping[str, Any]) -> list[str]:
        """Keyword arguments as code."""
        return [f"{key}={self.literal(value, key)}" for key, value in settings.items()]

    def function(self, function: Callable[..., Any]) -> str:
        """Add a function with all that it uses; its name.

        A function of a notebook is copied, one of a package is imported.
        """
        if not isinstance(function, types.FunctionType) or function.__name__ == "<lambda>" or function.__closure__:
            raise InputError("Only a function that is written with def, outside of others, can be copied as code.")
        name = function.__name__
        if function.__module__ != "__main__":
            self.imports.add(f"from {function.__module__} import {name}")
        elif name not in self._parts:
            self._parts[name] = ""  # a function may call itself
            source = _source(function)
            for used in _globals_of(function, source):
                self._add(used, function.__globals__[used])
            self._parts[name] = self._parts.pop(name) + source
        return name

    def _add(self, name: str, value: Any) -> None:
        if name in self._parts:
            return
        if isinstance(value, types.ModuleType):
            same = name == value.__name__
            self.imports.add(f"import {name}" if same else f"import {value.__name__} as {name}")
        elif isinstance(value, types.FunctionType) and value.__module__ == "__main__":
            if (original := self.function(value)) != name:
                self._parts[name] = f"{name} = {original}"
        elif importable(value):
            same = name == value.__name__
            self.imports.add(f"from {value.__module__} import {value.__name__}{'' if same else f' as {name}'}")
        else:
            self._parts[name] = f"{name} = {self.literal(value, name)}"

    def literal(self, value: Any, name: str) -> str:
        """A value as code: numbers, texts, lists and the like, and dataclasses such as records."""
        if value is None or isinstance(value, (bool, int, str, bytes)):
            return repr(value)
        if isinstance(value, float):
            return repr(float(value)) if math.isfinite(value) else f"float('{value}')"
        if type(value) in (list, set, tuple) and value:
            inner = ", ".join(self.literal(item, name) for item in value)
            left, right = {list: "[]", set: "{}", tuple: ("(", ",)")}[type(value)]
            return left + inner + right
        if type(value) in (list, set, tuple):
            return repr(value)
        if type(value) is dict:
            pairs = ", ".join(f"{self.literal(key, name)}: {self.literal(item, name)}" for key, item in value.items())
            return f"{{{pairs}}}"
        if dataclasses.is_dataclass(value) and importable(type(value)):
            self._add(type(value).__name__, type(value))
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
            return f"{type(value).__name__}({', '.join(self.arguments(fields))})"
        raise InputError(f"'{name}' holds a {type(value).__name__}, which cannot be written as code: make it inside "
                         "the function.")


def importable(value: Any) -> bool:
    """Whether `from MODULE import NAME` gives this class or function."""
    name, module = getattr(value, "__name__", None), getattr(value, "__module__", None)
    return bool(name) and bool(module) and module != "__main__" and getattr(value, "__qualname__", name) == name


def _source(function: types.FunctionType) -> str:
    try:
        return textwrap.dedent(inspect.getsource(function)).strip()
    except (OSError, TypeError):
        raise InputError(f"The source of '{function.__name__}' is not known here: define it in a cell or a "
                         "file.") from None


def _globals_of(function: types.FunctionType, source: str) -> list[str]:
    """Names that the function looks up in its module: in its body, and where def itself is executed."""
    head = ast.parse(source).body[0]
    at_def = [*head.decorator_list, *head.args.defaults, *filter(None, head.args.kw_defaults), *filter(None, [
        head.returns, *(arg.annotation for arg in ast.walk(head.args) if isinstance(arg, ast.arg))])]
    names = {node.id for part in at_def for node in ast.walk(part) if isinstance(node, ast.Name)}
    names |= {step.argval for code in _codes(function.__code__) for step in dis.get_instructions(code)
              if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    missing = sorted(name for name in names if name not in function.__globals__ and not hasattr(builtins, name))
    if missing:
        raise InputError(f"'{function.__name__}' uses '{missing[0]}', which is not defined.")
    return sorted(name for name in names if name in function.__globals__)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _codes(inner)
