"""When has tuning repaid itself? Tokens and seconds of each request against dollars that are spent once."""

import math

import pandas as pd

from helpers.lab.errors import InputError
from helpers.lab.money.bill import repaid_in
from helpers.lab.money.costs import api_prices, compute_usd

_TOKENS = ["tokens_in", "tokens_out"]


def tuning_repaid(ways: pd.DataFrame, cores: int, price: str | None = None,
                  usd_of_work: float = 0.0) -> pd.DataFrame:
    """After how many requests a tuned model has repaid its tuning, beside each way with examples in the prompt.

    Args:
        ways: of `compare_ways`; the tuned one is that with `spent_s`.
        cores: of the machine on which it was measured.
        price: a hosted model, where requests are paid by its tokens; by default by the seconds of all cores, at the
            price of a processor of the default offer's machine. A tuned model's tokens are taken to cost the same,
            and so is a request with as many tokens as the tuned one's: their seconds differ by chance.
        usd_of_work: what tuning takes of people's time.

    Returns:
        A row for each other way: the columns of `ways`, usd_per_million (requests), tuned_per_million, spent_usd (once)
        and requests: after so many, tuning is cheaper; infinity where it never is.

    Raises:
        InputError: no tuned way, an unknown hosted model, or a negative number.

    >>> import pandas as pd
    >>> from helpers.data_efficiency import tuning_repaid
    >>> ways = pd.DataFrame({"way": ["8 nearest examples", "tuned"], "seconds": [0.4, 0.2], "spent_s": [0.0, 600.0],
    ...                      "tokens_in": [800.0, 150.0], "tokens_out": [5.0, 5.0]})
    >>> tuning_repaid(ways, cores=2)["requests"].round().tolist()
    [3000.0]
    """
    if cores < 1 or usd_of_work < 0:
        raise InputError(f"A machine has at least one core, and work costs 0 or more; got {cores} and {usd_of_work}.")
    if price is not None and price not in api_prices():
        raise InputError(f"Unknown hosted model '{price}'. Choose one of: {', '.join(api_prices())}.")
    tuned = ways[ways["spent_s"] > 0]
    if len(tuned) != 1:
        raise InputError(f"One way has to be the tuned one, with its seconds of tuning; there are {len(tuned)}.")
    usd = [compute_usd(row.seconds * cores) if price is None else api_prices()[price].usd(row.tokens_in, row.tokens_out)
           for row in ways.itertuples()]
    table = ways.assign(usd_per_million=[1e6 * one for one in usd])
    of_tuned = float(table.loc[tuned.index[0], "usd_per_million"])
    spent = compute_usd(float(tuned["spent_s"].iloc[0]) * cores) + usd_of_work
    others = table.drop(tuned.index)
    alike = (others[_TOKENS] == tuned[_TOKENS].iloc[0]).all(axis=1)
    saved = (others["usd_per_million"] - of_tuned).mask(alike, 0.0)
    requests = [repaid_in(spent, one / 1e6) for one in saved]
    return others.assign(tuned_per_million=of_tuned, spent_usd=spent,
                         requests=[math.inf if one is None else one for one in requests])
