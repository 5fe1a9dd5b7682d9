"""The reference answers as transformers' own generate does."""

import pytest
import torch
from small_llama import PROMPTS, smollm2

from helpers.lab import InputError

pytestmark = pytest.mark.slow


def test_the_reference_answers_as_transformers_generate_does():
    llm = smollm2("transformers")
    for prompt, answer in zip(PROMPTS[:2], llm.generate(PROMPTS[:2], max_tokens=12), strict=True):
        ids = torch.tensor([llm.read(prompt)])
        expected = llm.module.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False,
                                       pad_token_id=2)[0, ids.shape[1]:].tolist()
        assert list(answer.tokens) == [token for token in expected if token not in llm.ends]
        assert answer.prompt_tokens == ids.shape[1]
        assert answer.ended == ("stop" if expected[-1] in llm.ends else "length")


def test_a_form_is_refused():
    with pytest.raises(InputError, match="cannot hold answers to a form"):
        smollm2("transformers").generate([PROMPTS[0]], form="(a|b)")
