"""What tags mean, how they are read off logits, and a tagger in its runtimes."""

import numpy as np
import pytest

from helpers.lab import InputError
from helpers.lab.extraction.saved import load_extractor
from helpers.lab.extraction.tagging.tagger import certainty, read_tags

FIELDS, WISHES = ("order", "product"), ("late", "broken")
TEXT = "My hub HB-77 broke"  # as BERT's tokenizer parts it, between its marks
SPANS = [(0, 0), (0, 2), (3, 6), (7, 9), (9, 10), (10, 12), (13, 18), (0, 0)]


def logits(tags, wish=1, sure=5.0):
    """Of one text: `sure` for each tag and the wish, 0 for the rest."""
    result = np.zeros((len(tags), 5 + len(WISHES)), np.float32)
    result[np.arange(len(tags)), tags] = sure
    result[0, 5 + wish] = 1.0
    return result


def test_tags_are_read_as_values_and_the_first_token_as_the_wish():
    result = read_tags(TEXT, SPANS, logits([0, 0, 3, 1, 2, 2, 0, 0]), FIELDS, WISHES)
    assert result == {"wish": "broken", "order": "HB-77", "product": "hub"}
    assert read_tags(TEXT, SPANS, logits([0] * 8, wish=0), FIELDS, WISHES) == {"wish": "late"}


def test_how_sure_it_is_is_the_product_of_all_that_it_says():
    """By hand: six tokens with one logit of 5 among five, and a wish with one of 1 beside 0; the marks say nothing."""
    tag, wish = np.exp(5) / (np.exp(5) + 4), np.e / (np.e + 1)
    assert certainty(SPANS, logits([0] * 8), 5) == pytest.approx(tag**6 * wish, rel=1e-6)


def test_a_value_may_begin_inside_and_a_new_beginning_ends_it():
    inside = read_tags(TEXT, SPANS, logits([0, 0, 0, 2, 2, 2, 0, 0]), FIELDS, WISHES)
    assert inside["order"] == "HB-77"
    likelier = logits([0, 0, 0, 1, 0, 1, 0, 0])
    likelier[5, 1] = 9.0
    assert read_tags(TEXT, SPANS, likelier, FIELDS, WISHES)["order"] == "77"  # of two the one it is surer of


def test_marks_are_no_values_padding_is_not_read_and_words_stay_whole():
    marks = logits([1, 0, 0, 0, 0, 0, 0, 1])
    assert "order" not in read_tags(TEXT, SPANS, marks, FIELDS, WISHES)
    padded = np.vstack([logits([0] * 8), logits([1, 1])])
    assert "order" not in read_tags(TEXT, SPANS, padded, FIELDS, WISHES)
    half = [(0, 0), (0, 3), (3, 6), (0, 0)]  # 'thermo', as two pieces of which one is tagged
    assert read_tags("thermo", half, logits([0, 0, 4, 0]), FIELDS, WISHES)["product"] == "thermo"


@pytest.fixture(scope="module")
def exported(things_tagger):
    return {scheme: things_tagger.exported(scheme) for scheme in ("fp32", "int8")}


def test_the_exported_tagger_finds_what_the_one_in_pytorch_finds(things_task, things_tagger, exported):
    texts = [*things_task.test["text"], "", "hub " * 300]
    result = things_tagger.extract(texts)
    assert exported["fp32"].extract(texts) == result
    small = exported["int8"].extract(texts)
    assert np.mean([one == other for one, other in zip(small, result, strict=True)]) > 0.8
    assert sum("order" in one and "product" in one for one in result) > 0.8 * len(things_task.test)
    assert things_tagger.extract([]) == []


def test_each_text_is_read_alike_alone_and_in_a_batch(things_task, exported):
    texts = things_task.test["text"][:]
    assert [exported["fp32"].extract([text])[0] for text in texts] == exported["fp32"].extract(texts)


def test_a_tagger_comes_back_as_it_was_saved(things_task, things_tagger, exported, tmp_path):
    texts = things_task.test["text"][:]
    for one in (things_tagger, *exported.values()):
        one.save(tmp_path / one.name)
        again = load_extractor(tmp_path / one.name)
        assert again.extract(texts) == one.extract(texts)
        assert (again.name, again.fields, again.wishes, again.settings) == (one.name, one.fields, one.wishes,
                                                                             one.settings)
    assert exported["int8"].stored < 0.5 * exported["fp32"].stored


def test_what_cannot_be_exported_is_refused(things_tagger, exported):
    with pytest.raises(InputError, match="Unknown scheme 'int4'"):
        things_tagger.exported("int4")
    with pytest.raises(InputError, match="Only a PyTorch model can be exported"):
        exported["fp32"].exported("int8")


def test_what_it_finds_surely_is_what_it_finds(things_tagger, things_task):
    texts = things_task.test["text"][:20]
    result, sure = things_tagger.extract_with_confidence(texts)
    assert result == things_tagger.extract(texts)
    assert ((sure > 0) & (sure <= 1)).all()
    garbled = [text[::-1] for text in texts]
    assert things_tagger.extract_with_confidence(garbled)[1].mean() < sure.mean()
