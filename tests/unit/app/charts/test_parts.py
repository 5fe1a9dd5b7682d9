"""What all charts share: places of names, titles, and the functions that draw what is specified."""

import inspect

import pytest

from helpers import app
from helpers.app.charts.parts import HEIGHT, WIDTH, Mark, Palette, Span, finished, places
from helpers.app.charts.vega import REFERENCE_GREY


def test_names_do_not_cover_each_other():
    marks = [Mark(f"a long name {n}", 1.0, 0.9, 1.1, 0.9, 0.88, 0.92) for n in range(4)]
    assert len(set(places(marks, Span(0.1, 10, log=True), Span(0.8, 1.0)))) == 4


def test_a_name_at_the_edge_stays_inside():
    align, dx, _ = places([Mark("a rather long name", 9.9, 9.8, 10, 0.9, 0.88, 0.92)], Span(0.1, 10, log=True),
                           Span(0.8, 1.0))[0]
    assert (align, dx < 0) == ("right", True)
    assert WIDTH > HEIGHT


def test_a_span_has_room_around_its_values_on_either_scale():
    assert Span.around([0.0, 100.0]) == Span(-8.0, 108.0)
    log = Span.around([1.0, 100.0], log=True)
    assert (log.share(10.0), log.low < 1.0, log.high > 100.0) == (pytest.approx(0.5), True, True)
    assert Span.around([5.0, 5.0]) == Span(4.0, 6.0)


def test_a_title_and_what_is_read_out_write_a_true_minus():
    drawn = finished([], "It loses -2.5 points", "", 100)
    assert drawn.title == ["It loses \N{MINUS SIGN}2.5 points"]
    assert "\N{MINUS SIGN}2.5" in drawn.description


def test_a_title_is_broken_at_spaces_only_since_the_page_joins_its_lines_again():
    title = "A title of just the length at which a line would end within fine-tuned MiniLM and other hyphens"
    lines = finished([], title, "", 100).title
    assert len(lines) > 1
    assert " ".join(lines) == title


def test_the_first_name_is_grey_and_a_name_that_comes_again_keeps_its_colour():
    palette = Palette.of("kind", ["reference", "pruning", "reference", "distillation"])
    assert palette.names == ["reference", "pruning", "distillation"]
    assert palette.colours[0] == REFERENCE_GREY
    assert len(set(palette.colours)) == 3


@pytest.mark.parametrize("name", ["chart", "speedups", "lines", "bars", "dots", "replicas_over_time",
                                  "latency_over_time", "dollars_a_month", "break_even_chart", "scaling_chart"])
def test_a_function_that_draws_has_its_name_and_the_arguments_that_are_documented(name):
    draw = getattr(app, name)
    assert draw.__name__ == draw.__qualname__ == name
    for argument in inspect.signature(draw).parameters:
        assert argument in draw.__doc__ or name == "speedups"
