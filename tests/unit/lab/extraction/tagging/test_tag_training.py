"""What a tagger is taught of texts, and that it learns it: from a things_task, or from another extractor."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional

from helpers.lab import Cancelled, InputError
from helpers.lab.data.extraction import extractions
from helpers.lab.extraction.scores import score_extractions
from helpers.lab.extraction.tagging.tag_training import _loss, tag_tokens, train_tagger
from helpers.lab.progress import Progress

FIELDS, WISHES = ("order", "product", "amount"), ("late", "broken")
OUT, NOT = 0, -100


def words(text):
    """The spans of a text's words between two marks."""
    spans, at = [(0, 0)], 0
    for word in text.split(" "):
        spans.append((at, at + len(word)))
        at += len(word) + 1
    return [*spans, (0, 0)]


def tags(text, found, spans=None):
    dropped = Counter()
    return tag_tokens(text, spans or words(text), found, FIELDS, WISHES, dropped), dict(dropped)


def test_values_are_tagged_from_their_first_to_their_last_token():
    result = {"wish": "broken", "order": "A 1", "product": "garden lamp"}
    assert tags("the garden lamp of A 1", result) == ([1, OUT, 3, 4, OUT, 1, 2, NOT], {})


def test_where_a_value_stands_again_nothing_is_learned():
    assert tags("hub and hub", {"wish": "late", "product": "hub"}) == ([0, 3, OUT, NOT, NOT], {})


def test_what_cannot_be_located_is_dropped_and_counted():
    assert tags("a hub", {"product": "camera"}) == ([NOT, OUT, OUT, NOT], {"not in the text": 1})
    assert tags("5 hubs for 5", {"amount": "5"}) == ([NOT, NOT, OUT, OUT, NOT, NOT], {"ambiguous": 1})
    result = {"wish": "of another task", "order": "HB 7", "amount": "7"}  # the sum lies within the number
    assert tags("order HB 7", result) == ([NOT, OUT, 1, 2, NOT], {"ambiguous": 1})
    cut = tags("a long hub", {"product": "hub"}, words("a long"))
    assert cut == ([NOT, OUT, OUT, NOT], {"beyond the token limit": 1})


def test_the_loss_is_the_mean_over_tagged_tokens_and_over_wishes():
    """By hand, row by row; labels are padded further than this batch."""
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4)  # two tags, two wishes
    labels = torch.tensor([[1, 0, NOT, NOT], [NOT, 1, 1, NOT]])
    one = [functional.cross_entropy(logits[row, place, :2], labels[row, place])
           for row, place in [(0, 1), (1, 1), (1, 2)]]
    expected = sum(one) / 3 + functional.cross_entropy(logits[0, 0, 2:], labels[0, 0])
    assert _loss(2, logits, labels).item() == pytest.approx(expected.item(), rel=1e-6)
    assert _loss(2, logits, torch.full((2, 3), NOT)).item() == 0


def test_a_tagger_learns_what_a_task_says(things_task, things_tagger):
    result = things_tagger.extract(things_task.test["text"][:])
    score = score_extractions(result, extractions(things_task, "test"), things_tagger.fields)
    assert score["message"] > 0.9
    assert score["wish"] > 0.9
    assert things_tagger.settings["rows"] == len(things_task.train)
    assert set(things_tagger.settings["dropped"].values()) == {0}


def test_a_tagger_learns_from_another_extractors_output(things_task, narrow_encoder):
    """The teacher calls every thing by its first word, says so in the wrong case, and fails on some rows."""
    taught = [{"wish": one["wish"], **({"product": one["product"].split()[0].upper()} if "product" in one else {})}
              for one in extractions(things_task, "train")]
    taught[0] = None
    taught[1] = {"wish": "late", "product": "nothing of the kind"}
    tagger = train_tagger(things_task, taught, encoder=narrow_encoder, epochs=120)
    assert tagger.settings["rows"] == len(taught) - 1
    assert tagger.settings["dropped"] == {"not in the text": 1, "ambiguous": 0, "beyond the token limit": 0}
    [result] = tagger.extract(["broken is the garden lamp bought as HB-1111"])
    assert result == {"wish": "broken", "product": "garden"}


def test_rows_that_teach_nothing_are_refused(things_task, narrow_encoder):
    with pytest.raises(InputError, match=r"There are 1 extractions for \d+ training rows"):
        train_tagger(things_task, [None], encoder=narrow_encoder)
    for empty in (None, {}, {"product": "unheard of"}):
        with pytest.raises(InputError, match="has a value that stands in its text"):
            train_tagger(things_task, [empty] * len(things_task.train), encoder=narrow_encoder)


def test_cancelling_ends_the_training(things_task, narrow_encoder):
    steps = []
    progress = Progress(lambda fraction, message: steps.append(message), lambda: len(steps) >= 2)
    with pytest.raises(Cancelled):
        train_tagger(things_task, encoder=narrow_encoder, progress=progress)
    assert steps[-1].startswith("training the tagger: step 2")


def test_the_same_seed_gives_the_same_tagger(things_task, narrow_encoder):
    one, other = (train_tagger(things_task, encoder=narrow_encoder, epochs=1).model.module.classifier.weight
                  for _ in range(2))
    np.testing.assert_array_equal(one.detach().numpy(), other.detach().numpy())
