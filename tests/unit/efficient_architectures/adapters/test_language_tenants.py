"""Many tenants on one language model: each adapter's answers are those of the model that it is merged into."""

import openvino_genai
import pytest
import torch
from tiny_gguf import tiny_gguf, tiny_llm

from helpers.efficient_architectures import LanguageTenants, tenant_adapters, tenant_prompt, tenant_tasks, tenant_times
from helpers.lab import InputError
from helpers.lab.language.gguf import in_weight_type
from helpers.lab.language.loading import load_language_model
from helpers.lab.language.tuning import merged, tune_adapter

FEW = 3  # tokens: of a random model's many near ties, rounding decides some later ones
PROMPTS = ["Where is my camera?", "Refund 20 euros", "hello there", "cancel it", "the hub is broken"]


@pytest.fixture(scope="module")
def adapters():
    """Two tenants' adapters: the names and shapes of tuned ones, with random numbers, so that answers differ."""
    made = {}
    for number, name in enumerate(["one", "two"]):
        generator = torch.Generator().manual_seed(number)
        shapes = tune_adapter(tiny_llm(), [("Hi", "ok")], rank=4, epochs=1)
        made[name] = {key: 0.15 * torch.randn(part.shape, generator=generator) for key, part in shapes.items()}
    return made


@pytest.fixture(scope="module")
def base():
    """In 8 bits, as SmolLM2 is when OpenVINO reads it."""
    return in_weight_type(tiny_gguf(), "Q8_0")


@pytest.fixture(scope="module")
def bank(base, adapters):
    return LanguageTenants(load_language_model(base), adapters)


@pytest.fixture(scope="module")
def expected(base, adapters):
    """Tenant -> the answers of transformers, from weights into which the adapter is merged."""
    plain = load_language_model(base, "transformers")
    models = {None: plain, **{name: merged(plain, adapter) for name, adapter in adapters.items()}}
    return {name: [answer.text for answer in llm.generate(PROMPTS, max_tokens=FEW)] for name, llm in models.items()}


def test_each_tenant_is_answered_as_by_the_merged_model(bank, expected):
    assert expected["one"] != expected["two"] != expected[None]
    for tenant in ("one", "two", "one", None):  # there and back: nothing of the tenant before stays
        assert bank.generate(PROMPTS, [tenant] * len(PROMPTS), max_tokens=FEW) == expected[tenant]


@pytest.mark.parametrize("together", [True, False])
def test_mixed_requests_get_their_own_tenants_answers_in_their_order(bank, expected, together):
    tenants = ["one", "two", None, "one", "two"]
    result = bank.generate(PROMPTS, tenants, max_tokens=FEW, together=together)
    assert result == [expected[tenant][row] for row, tenant in enumerate(tenants)]


def test_a_tenant_takes_the_bytes_of_its_two_thin_matrices(bank):
    """By hand, rank 4 in fp32: four matrices of 64 by 64 or 32, three of 64 by 64, in two layers."""
    attention = 2 * (64 + 64) + 2 * (64 + 32)  # query and output, key and value
    feed_forward = 3 * (64 + 64)
    assert set(bank.bytes.values()) == {4 * 4 * 2 * (attention + feed_forward)}


def test_adapters_are_tuned_on_each_tenants_own_rows(tiny_task):
    tasks = tenant_tasks(tiny_task, 2, labels_each=2, train_rows=4)
    made = tenant_adapters(tasks, tiny_gguf(), epochs=150)
    assert list(made) == [task.name for task in tasks]
    for task, adapter in zip(tasks, made.values(), strict=True):
        prompts = [tenant_prompt(task, text) for text in task.train["text"][:]]
        answers = [one.text for one in merged(tiny_llm(), adapter).generate(prompts, max_tokens=4)]
        before = [one.text for one in tiny_llm().generate(prompts, max_tokens=4)]
        labels = [task.labels[label] for label in task.train["label"][:]]
        right = [sum(one == label for one, label in zip(some, labels, strict=True)) for some in (before, answers)]
        assert right[0] < right[1]


def read_anew(llm, prompt):
    """How many tokens of a prompt the engine computes: of those in its cache it has no log-probability to echo."""
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens, config.echo, config.logprobs, config.apply_chat_template = 1, True, 1, False
    handle = llm._ask(llm._pipeline, llm.read(prompt), config)
    while llm._pipeline.has_non_finished_requests():
        llm._pipeline.step()
    return len([one for output in handle.read_all() for one in output.generated_log_probs])


def test_the_plain_model_is_timed_without_a_cache_of_prefixes_as_the_tenants_are(bank):
    prompt, both = "Where is my camera? " * 20, (bank.plain, bank.plain.uncached())
    cached, uncached = ([read_anew(llm, prompt) for _ in range(2)] for llm in both)
    assert cached[1] < cached[0] == uncached[0] == uncached[1]
    answers = [[one.text for one in llm.generate(PROMPTS, max_tokens=FEW)] for llm in both]
    assert answers[0] == answers[1]


def test_the_ways_are_timed_and_named(bank):
    times = tenant_times(bank, PROMPTS[:4], max_tokens=2, rounds=2).set_index("way")
    assert (times["seconds"] > 0).all()
    assert times["speedup"]["one tenant, all at once"] == 1.0
    assert times["speedup"].isna().sum() == 1  # loading is no request
    assert times["seconds"]["load a whole model"] > times["seconds"]["tenants mixed, as they come"]


def test_what_cannot_be_used_is_said_in_a_sentence(bank, adapters):
    for wrong in (lambda: LanguageTenants(bank.plain, {}), lambda: bank.generate(PROMPTS, ["one"]),
                  lambda: bank.generate(["Hi"], ["three"]), lambda: tenant_times(bank, []),
                  lambda: tenant_adapters([]), lambda: LanguageTenants(tiny_llm(), adapters),
                  lambda: merged(tiny_llm(), {"base_model.model.else.lora_A.weight": torch.zeros(2, 64),
                                              "base_model.model.else.lora_B.weight": torch.zeros(64, 2)})):
        with pytest.raises(InputError, match=r"\.$"):
            wrong()
