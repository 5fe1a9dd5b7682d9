"""Templates are compiled for the first page that needs them, and for no other."""

import jinja2
import pytest

from helpers.app.server.templates import Compiled, Exporter


@pytest.fixture
def compilations(monkeypatch):
    """The names of the templates that are compiled from now on."""
    names, compile_ = [], jinja2.Environment.compile
    monkeypatch.setattr("helpers.app.server.templates.COMPILED", Compiled())
    monkeypatch.setattr(jinja2.Environment, "compile", lambda environment, source, name=None, *rest, **more: (
        names.append(name), compile_(environment, source, name, *rest, **more))[1])
    return names


def shown(folder):
    """What a page's own exporter makes of a template."""
    template = Exporter(template_paths=[str(folder)]).environment.get_template("page.html.j2")
    return "".join(template.render(number=2))


def test_the_second_page_compiles_nothing_and_looks_the_same(compilations, tmp_path):
    (tmp_path / "frame.html.j2").write_text("<p>{% block body %}{% endblock %}</p>")
    (tmp_path / "page.html.j2").write_text("{% extends 'frame.html.j2' %}{% block body %}{{ number }}{% endblock %}")
    pages = [shown(tmp_path) for _ in range(3)]
    assert pages == ["<p>2</p>"] * 3
    assert compilations == ["page.html.j2", "frame.html.j2"]


def test_a_template_that_has_changed_is_compiled_anew(compilations, tmp_path):
    (tmp_path / "page.html.j2").write_text("{{ number }} pages")
    assert shown(tmp_path) == "2 pages"
    (tmp_path / "page.html.j2").write_text("{{ number + 1 }} pages")
    assert shown(tmp_path) == "3 pages"
    assert len(compilations) == 2
