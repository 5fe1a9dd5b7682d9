"""Which pipelines the benchmark of strategy 1 takes to the test rows, and how figures are printed."""

import pytest

from benchmarks.common import finish, shown
from benchmarks.model_optimization import nearest
from helpers.model_optimization.pipelines.searching import Abandoned, SearchResult

ONE, SHORT, STAGED = [{"step": "prune"}], [{"step": "distill"}], [{"step": "distill"}, {"step": "cascade"}]


@pytest.fixture
def found(new_measurement) -> SearchResult:
    """Two single models, 16 and 20 times cheaper, and two pipelines with a first stage that were given up."""
    records = (new_measurement(model="one", speedup=16.0, settings={"steps": ONE}),
               new_measurement(model="short", speedup=20.0, settings={"steps": SHORT}))
    worse = Abandoned(({"step": "prune"}, {"step": "cascade"}), 0.40, 1)
    return SearchResult(0.9, records, (), (worse, Abandoned(tuple(STAGED), 0.45, 1)))


@pytest.mark.parametrize(("cheaper", "steps"), [(15, ONE), (18, SHORT), (40, SHORT)])
def test_the_nearest_of_those_cheap_enough_else_the_cheapest(found, cheaper, steps):
    assert nearest(found, {"one": 0.1, "short": 0.2}, staged=False, cheaper=cheaper) == steps


def test_where_all_were_given_up_the_most_accurate_of_them_goes_to_the_test_rows(found):
    assert nearest(found, {"one": 0.1, "short": 0.2}, staged=True, cheaper=40) == STAGED


def test_no_figure_has_an_exponent(capsys):
    finish([shown("rows", 123_456.0, "rows/s", 0.00001234, 20_000), shown("none", None, "")], None)
    said = capsys.readouterr().out
    assert "123500 (0.00001234 to 20000) rows/s" in said
    assert "none" in said
