"""Which examples are shown, and where a text is cut: against all pairs, and against the tokenizer's own count."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import cosine_similarity
from small_llama import smollm2

from helpers.lab import InputError
from helpers.lab.language.examples import Nearest, shortened
from helpers.lab.models.sklearn import word_vectorizer

TEXTS = ["where is my parcel", "cancel the plan, please", "my parcel is lost", "the camera shows no picture", "plan"]


def test_the_nearest_are_those_of_the_largest_cosine():
    for text in ("parcel lost", "cancel my plan", "a picture of the camera"):
        vectorizer = word_vectorizer()
        assert isinstance(vectorizer, TfidfVectorizer)
        vectors = vectorizer.fit_transform(TEXTS)
        cosines = cosine_similarity(vectorizer.transform([text]), vectors)[0]
        result = Nearest(TEXTS).rows(text, 3)
        np.testing.assert_allclose(cosines[result], np.sort(cosines)[::-1][:3])
    assert Nearest(TEXTS).rows("nothing alike", 2) == [0, 1]  # the first, where none is nearer


def test_texts_without_words_are_refused():
    with pytest.raises(InputError, match="use select='fixed'"):
        Nearest(["?", "a"])


@settings(max_examples=40, deadline=None)
@given(some.text(max_size=400), some.integers(1, 60))
def test_a_shortened_text_is_a_beginning_that_fits(text, room):
    llm = smollm2("transformers")
    left = shortened(llm, text, room)
    assert text.startswith(left)
    assert len(llm.encode([left])[0]) <= room
    if len(llm.encode([text])[0]) <= room:
        assert left == text
