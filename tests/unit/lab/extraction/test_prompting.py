"""Prompts, examples and answers of a language model that extracts; and its answers in a form."""

import json

import pytest
from small_llama import smollm2
from tiny_gguf import tiny_llm

from helpers.lab import InputError
from helpers.lab.data.extraction import extractions
from helpers.lab.extraction.prompting import MAX_ANSWER, PromptedExtractor, parse_answer, prompted_extractor
from helpers.lab.extraction.saved import load_extractor

pytestmark = pytest.mark.slow  # reading SmolLM2's tokenizer takes seconds
FIELDS, WISHES = ("order", "product"), ("late", "broken")
EXAMPLES = [("the camera broke", {"wish": "broken", "product": "camera"}), ("hello", {"wish": "late"}),
            ("where is order HB-1", {"wish": "late", "order": "HB-1"}),
            ("where is order HB-2 with the hub", {"wish": "late", "order": "HB-2", "product": "hub"})]
TEXT = "where is order HB-9 with my hub"


@pytest.fixture(scope="module")
def llm():
    return tiny_llm()


def extractor(llm, **options):
    return PromptedExtractor(llm, FIELDS, WISHES, EXAMPLES, form=False, **options)


def test_the_instruction_alone_names_the_keys_the_wishes_and_then_the_message(llm):
    [turn] = extractor(llm, select="none").prompt(TEXT)
    assert turn["role"] == "user"
    assert turn["content"].endswith(f"\n\n{TEXT}")
    for word in ("JSON", "wish: one of late, broken", "order: ", "product: "):
        assert word in turn["content"]


def test_a_trimmed_instruction_and_a_short_answer_keep_to_their_budgets(llm):
    full, trimmed = (extractor(llm, select="none", meanings=meanings, max_answer=3) for meanings in (True, False))
    [answer] = trimmed.ask([TEXT])
    assert answer.answer_tokens <= 3
    assert 0 < answer.prompt_tokens < full.ask([TEXT])[0].prompt_tokens
    for word in ("JSON", "wish: one of late, broken", "order", "product"):
        assert word in trimmed.prompt(TEXT)[0]["content"]
    with pytest.raises(InputError, match="An answer of 0 tokens"):
        extractor(llm, max_answer=0)


def test_the_nearest_examples_come_with_their_answers_the_likest_last(llm):
    turns = extractor(llm, shots=2).prompt(TEXT)
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user", "assistant", "user"]
    assert turns[0]["content"].endswith("where is order HB-1")
    assert [turn["content"] for turn in turns[2:]] == [
        "where is order HB-2 with the hub", '{"wish": "late", "order": "HB-2", "product": "hub"}', TEXT]
    assert json.loads(turns[1]["content"]) == {"wish": "late", "order": "HB-1", "product": ""}


def test_a_text_is_never_its_own_example(llm):
    for select in ("nearest", "fixed"):
        turns = extractor(llm, shots=4, select=select).prompt(EXAMPLES[3][0])
        assert sum(EXAMPLES[3][0] in turn["content"] for turn in turns) == 1
        assert len(turns) == 2 * 3 + 1
    long = ("hub " * 5000, {"wish": "late"})  # also one that is cut
    assert len(PromptedExtractor(llm, FIELDS, WISHES, [long], shots=1, form=False).prompt(long[0])) == 1


def test_fixed_examples_are_the_same_for_all_texts(llm):
    one = extractor(llm, shots=2, select="fixed")
    assert one.prompt(TEXT)[:-1] == one.prompt("another")[:-1]
    assert EXAMPLES[1][0] == one.prompt(TEXT)[2]["content"]


def test_examples_that_do_not_fit_are_left_out_the_least_like_first(llm):
    long = [(f"{text} {'very long ' * 300}", result) for text, result in EXAMPLES]
    one = PromptedExtractor(llm, FIELDS, WISHES, long, shots=4, form=False)
    turns = one.prompt(TEXT)
    assert len(llm.read(turns)) + MAX_ANSWER <= llm.context
    assert len(turns) == 2 * 2 + 1  # some 620 tokens each, of 2,048
    assert turns[2]["content"].startswith(EXAMPLES[3][0])


@pytest.mark.parametrize("word", ["word ", "\u0441\u043b\u043e\u0432\u043e ", "x1y2 "])
def test_a_long_message_is_cut_to_what_can_be_read(llm, word):
    one = extractor(llm, shots=2)
    turns = one.prompt(word * 5000)
    assert 800 < len(llm.read(turns)) <= llm.context - MAX_ANSWER
    assert turns[-1]["content"] == (word * 5000)[:len(turns[-1]["content"])]
    assert one.prompt(TEXT)[-1]["content"] == TEXT


def test_rows_for_tuning_are_the_prompts_without_examples_and_the_right_answers(llm):
    one = extractor(llm, shots=2)
    [(prompt, answer)] = one.tuning_rows(EXAMPLES[2:3])
    assert prompt == extractor(llm, select="none").prompt(EXAMPLES[2][0])
    assert json.loads(answer) == {"wish": "late", "order": "HB-1", "product": ""}
    assert parse_answer(answer, FIELDS) == EXAMPLES[2][1]


@pytest.mark.parametrize(("answer", "expected"), [
    ('{"wish": "late", "order": " HB-1 ", "product": ""}', {"wish": "late", "order": "HB-1"}),
    ('```json\n{"order": 5, "day": "May"}\n```', {"order": "5"}), ('{"order": ["a"], "product": null}', {}), ("{}", {}),
    ('{"order": "HB', None), ("no order", None), ("", None), ("{'order': 'x'}", None), ("[1]", None)])
def test_answers_are_read_as_json_or_not_at_all(answer, expected):
    assert parse_answer(answer, FIELDS) == expected


def test_a_model_of_random_weights_gives_no_json_and_comes_back_as_it_was_saved(llm, tmp_path):
    one = extractor(llm, shots=2)
    assert one.extract([TEXT]) == [None]
    one.save(tmp_path)
    again = load_extractor(tmp_path, llm)
    assert again.prompt(TEXT) == one.prompt(TEXT)
    assert (again.name, again.fields, again.wishes, again.settings) == (one.name, one.fields, one.wishes, one.settings)
    assert one.stored > llm.stored
    with pytest.raises(InputError, match=r"needs its language model: .* 'tiny\.gguf' in transformers"):
        load_extractor(tmp_path)


def test_a_task_gives_fields_wishes_and_examples(llm, things_task):
    one = prompted_extractor(llm, things_task, shots=3, form=False)
    assert (set(one.fields), one.wishes) == ({"order", "product"}, things_task.labels)
    assert one.examples == list(zip(things_task.train["text"], extractions(things_task, "train"), strict=True))
    fixed = prompted_extractor(llm, things_task, shots=3, select="fixed", form=False)
    assert len(fixed.examples) == 3
    assert all(example in one.examples for example in fixed.examples)
    assert (one.name, fixed.name) == ("tiny.gguf, 3 nearest examples, free form",
                                      "tiny.gguf, 3 fixed examples, free form")


def test_what_cannot_be_shown_is_refused(llm):
    with pytest.raises(InputError, match="Unknown selection 'best'"):
        extractor(llm, select="best")
    with pytest.raises(InputError, match="needs at least one example"):
        PromptedExtractor(llm, FIELDS, WISHES, shots=2)
    with pytest.raises(InputError, match="No example has a word"):
        PromptedExtractor(llm, FIELDS, WISHES, [("?", {})])
    with pytest.raises(InputError, match="names of 900 wishes leave no room"):
        PromptedExtractor(llm, FIELDS, [f"wish number {number}" for number in range(900)], select="none")
    with pytest.raises(InputError, match="cannot hold answers to a form"):
        PromptedExtractor(llm, FIELDS, WISHES, select="none").extract([TEXT])


@pytest.mark.parametrize("engine", ["openvino", "llama.cpp"])
def test_answers_in_a_form_are_json_with_a_known_wish(engine):
    one = PromptedExtractor(smollm2(engine), FIELDS, WISHES, EXAMPLES, shots=2)
    result = one.extract([TEXT, "the siren broke"])
    assert all(answer is not None and answer["wish"] in WISHES for answer in result)
    assert result[0]["order"] == "HB-9"  # as the examples show
