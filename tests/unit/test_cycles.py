"""No circles among the files of helpers, not even through imports inside functions."""

import ast
from pathlib import Path

HELPERS = Path(__file__).parents[2] / "helpers"
FILES = {".".join(("helpers", *path.relative_to(HELPERS).with_suffix("").parts)).removesuffix(".__init__"): path
         for path in HELPERS.rglob("*.py")}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def facade_of(package: str) -> dict[str, str]:
    """Exported name -> the module that a lazy facade takes it from."""
    for node in ast.walk(TREES[package]):
        for keyword in getattr(node, "keywords", []):
            if keyword.arg == "submod_attrs":
                return {name: f"{package}.{module}" for module, names in ast.literal_eval(keyword.value).items()
                        for name in names}
    return {}


FACADES = {name: facade_of(name) for name, path in FILES.items() if path.name == "__init__.py"}


def imports_of(name: str) -> set[str]:
    """The files of helpers that a file imports, wherever in it; through a facade, the file behind it."""
    result = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            result |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                behind = FACADES.get(node.module, {}).get(alias.name, node.module)
                result.add(inner if inner in FILES else behind)
    return result & set(FILES)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of files that reach each other."""
    reached = {start: reachable(graph, start) for start in graph}
    groups = {frozenset({start, *(name for name in reached[start] if start in reached[name])})
              for start in graph if start in reached[start]}
    return sorted(sorted(group) for group in groups)


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    result, todo = set(), list(graph[start])
    while todo:
        name = todo.pop()
        if name not in result:
            result.add(name)
            todo += graph[name]
    return result


def test_a_circle_is_found_and_a_diamond_is_none():
    diamond = {"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}
    assert circles(diamond) == []
    assert circles(diamond | {"d": {"b"}}) == [["b", "d"]]
    assert circles({"a": {"a"}}) == [["a"]]


def test_the_graph_sees_imports_through_facades_and_inside_functions():
    assert "helpers.lab.errors" in imports_of("helpers.lab.sweeping")
    assert FACADES["helpers.lab"]["sweep"] == "helpers.lab.sweeping"
    assert "helpers.lab.data.docstrings" in imports_of("helpers.lab.data.task")  # imported where it is used


def test_no_files_import_each_other_in_a_circle():
    assert circles({name: imports_of(name) for name in FILES}) == []
