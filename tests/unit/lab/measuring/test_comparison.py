"""Models measured side by side: what the record says, and that it says the truth about speed."""

import copy
import itertools
import os
import threading
import time

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import f1_score, recall_score
from tokenizers import Tokenizer

from helpers.lab import Cancelled, InputError, Ledger, Model, compare, export, load_task, offers
from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.measuring.comparison import in_processes, peak_bytes
from helpers.lab.measuring.measurement import coverage_notes
from helpers.lab.measuring.timing import timing_turn
from helpers.lab.models.model import Card, folder_bytes
from helpers.lab.progress import Progress

# From design.md, 'The surface that others build on'
COLUMNS = """model, strategy, accuracy, accuracy_low, accuracy_high, accuracy_delta, accuracy_delta_low,
accuracy_delta_high, majority, macro_f1, weakest_recall, speedup, speedup_low, speedup_high, p50_ms, p95_ms, p99_ms,
throughput_per_s, artefact_mb, parameters, macs, peak_mb, joules_low, joules, joules_high, usd_per_million,
provenance"""


class Sleeper:
    """Sleeps so many milliseconds a row and always answers the same class."""

    def __init__(self, name: str, milliseconds: float, answer: int = 0) -> None:
        self.card, self.milliseconds, self.answer = Card(name, 3), milliseconds, answer
        self.calls = []

    def predict(self, inputs):
        self.calls.append((time.monotonic(), len(inputs)))
        time.sleep(self.milliseconds * len(inputs) / 1000)
        logits = np.zeros((len(inputs), 3), np.float32)
        logits[:, self.answer] = 1
        return logits

    def save(self, path):
        path.mkdir(parents=True)
        (path / "weights").write_bytes(b"x" * 1_500_000)


@pytest.fixture(scope="module")
def pair(tiny_model):
    return [tiny_model, export(tiny_model, "onnxruntime")]


@pytest.fixture(scope="module")
def without_torch(pair, tiny_model):
    """Two models that a fresh process reads in a moment."""
    return [pair[1], export(tiny_model, "openvino")]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    return Ledger(tmp_path_factory.mktemp("ledger") / "ledger.sqlite")


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def comparison(pair, tiny_task, ledger, told):
    return compare(pair, tiny_task, rounds=5, ledger=ledger, progress=Progress(lambda *what: told.append(what)))


@pytest.fixture(scope="module")
def frame(comparison):
    return comparison.frame()


def quick(models, task, **options):
    return compare(models, task, **{"rows": 30, "rounds": 5, "energy": False, "memory": False} | options)


def test_the_table_has_the_promised_columns_in_their_order(frame):
    assert frame.columns.tolist() == COLUMNS.replace("\n", " ").split(", ")


def test_the_first_model_is_the_reference(frame, pair):
    assert frame["model"].tolist() == [model.card.name for model in pair]
    first = frame.iloc[0]
    assert (first["speedup"], first["speedup_low"], first["speedup_high"]) == (1, 1, 1)
    assert (first["accuracy_delta"], first["accuracy_delta_low"], first["accuracy_delta_high"]) == (0, 0, 0)


@pytest.mark.parametrize("name", ["accuracy", "accuracy_delta", "speedup", "joules"])
def test_each_interval_holds_its_value(frame, name):
    value = frame[name].astype(float)
    assert (frame[f"{name}_low"] <= value).all()
    assert (value <= frame[f"{name}_high"]).all()


def test_accuracy_is_that_of_all_test_rows(frame, pair, tiny_task):
    right = pair[0].predict(tiny_task.test["text"][:]).argmax(axis=1) == tiny_task.test["label"][:]
    assert frame["accuracy"][0] == pytest.approx(right.mean())


def test_the_constant_macro_f1_and_the_weakest_class_are_as_scikit_learn_has_them(frame, pair, tiny_task):
    labels = tiny_task.test["label"][:]
    answers = pair[0].predict(tiny_task.test["text"][:]).argmax(axis=1)
    constant = DummyClassifier(strategy="most_frequent").fit(labels, labels)
    assert frame["majority"].tolist() == [pytest.approx(constant.score(labels, labels))] * 2
    assert frame["macro_f1"][0] == pytest.approx(f1_score(labels, answers, average="macro"))
    assert frame["weakest_recall"][0] == pytest.approx(recall_score(labels, answers, average=None).min())


def test_what_the_encoder_cuts_and_cannot_read_stands_in_the_record(tiny_model, tiny_task):
    texts = tiny_task.test["text"][:]
    short, whole, cut = copy.copy(tiny_model), *(Tokenizer.from_str(tiny_model.encoder._tokenizer.to_str())
                                                 for _ in range(2))
    short.encoder = TextEncoder(cut, max_tokens=6)
    whole.no_truncation()
    lengths = [len(whole.encode(text).ids) for text in texts]
    result = quick([short], tiny_task)
    record = result.measurements[0]
    assert result.frame().attrs["notes"] == coverage_notes([record])
    assert result.frame().attrs["notes"][0].startswith(f"Every model: {record.rows_cut:.1%} of the rows are longer")
    assert record.rows_cut == pytest.approx(np.mean([length > 6 for length in lengths]))
    assert record.tokens_cut == pytest.approx(sum(max(0, length - 6) for length in lengths)
                                              / sum(length - 2 for length in lengths))
    assert quick([Sleeper("no encoder", 0.1)], tiny_task).measurements[0].rows_cut is None


def test_a_constant_answer_has_learned_nothing_however_often_it_is_right(tmp_path):
    (tmp_path / "rare.csv").write_text("text,label\n" + "".join(
        f"message {number},{'yes' if number % 50 == 0 else 'no'}\n" for number in range(400)))
    task = load_task(tmp_path / "rare.csv")
    record = quick([Sleeper("always no", 0.01, answer=task.labels.index("no"))], task).measurements[0]
    assert record.accuracy == record.majority > 0.97
    assert (record.learned, record.weakest_class, record.weakest_recall) == (False, "yes", 0)


def test_the_same_weights_answer_alike_in_both_runtimes(frame):
    assert frame["accuracy_delta"][1] == 0
    assert frame["accuracy_delta_low"][1] < 0 < frame["accuracy_delta_high"][1]


def test_latencies_rise_with_their_percentile(frame):
    assert (frame["p50_ms"] > 0).all()
    assert (frame["p50_ms"] <= frame["p95_ms"]).all()
    assert (frame["p95_ms"] <= frame["p99_ms"]).all()


def test_the_speedup_is_the_ratio_of_the_throughputs(frame):
    assert frame["speedup"][1] == pytest.approx(frame["throughput_per_s"][1] / frame["throughput_per_s"][0])


def test_the_artefact_is_what_is_saved(frame, pair, tmp_path):
    pair[1].save(tmp_path / "model")
    assert frame["artefact_mb"][1] == pytest.approx(folder_bytes(tmp_path / "model") / 1e6, rel=1e-3)


def test_a_process_without_pytorch_needs_less_memory(frame):
    assert 50 < frame["peak_mb"][1] < frame["peak_mb"][0]


def test_money_is_the_throughput_at_the_default_offers_price(comparison):
    record, rented = comparison.measurements[1], offers()["AWS m6i.large"]
    hours = 1e6 / record.throughput_per_s / 3600
    expected = hours * record.threads / rented.vcpus * rented.on_demand_usd_hour
    assert record.usd_per_million == pytest.approx(expected)


def test_energy_says_its_method(comparison):
    for record in comparison.measurements:
        assert record.energy_method.startswith(("codecarbon (", "estimate, no meter: "))
        assert 0 < record.joules_low < record.joules < record.joules_high


def test_the_record_says_where_and_how_it_was_measured(comparison, pair):
    from helpers.lab import fingerprint

    for record in comparison.measurements:
        assert record.machine == fingerprint()
        assert record.reference == pair[0].card.name
        assert (record.provenance, record.rows, record.settings["rounds"]) == ("measured", 30, 5)
        assert 1 <= record.batch_size <= 64


def test_records_go_to_the_ledger_and_come_back_equal(comparison, ledger):
    assert sorted(ledger.all(), key=lambda record: record.id) == sorted(
        comparison.measurements, key=lambda record: record.id)
    for record in comparison.measurements:
        assert ledger.latest(record.key) == record


def test_progress_never_goes_back_and_ends(comparison, told):
    fractions = [fraction for fraction, _ in told if fraction is not None]
    assert fractions == sorted(fractions)
    assert told[-1] == (1.0, "done")


def test_a_record_is_found_by_model_and_by_name(comparison, pair):
    assert comparison.of(pair[1]) is comparison.of(pair[1].card.name) is comparison.measurements[1]
    low, high = comparison.interval(pair[1]).split(" to ")
    assert float(low) <= round(comparison.speedup(pair[1]), 2) <= float(high)
    assert comparison.ties(pair[0])


# Speed

def test_a_model_that_takes_twice_as_long_is_measured_at_half_the_speed(tiny_task):
    result = quick([Sleeper("plain", 1), Sleeper("slow", 2), Sleeper("same", 1)], tiny_task, rounds=7)
    assert result.speedup("slow") == pytest.approx(0.5, rel=0.2)
    assert result.of("slow").speedup_high < 0.8
    assert not result.ties("slow")
    assert result.speedup("same") == pytest.approx(1, rel=0.2)
    assert result.of("plain").p50_ms == pytest.approx(1, abs=0.8)
    assert result.of("plain").throughput_per_s == pytest.approx(1000, rel=0.4)


def test_models_are_timed_in_turns(tiny_task):
    models = [Sleeper("a", 0.2), Sleeper("b", 0.2)]
    quick(models, tiny_task, rounds=6)
    calls = sorted((when, model.card.name) for model in models for when, _ in model.calls)
    names = [name for _, name in calls]
    switches = sum(one != other for one, other in itertools.pairwise(names))
    assert switches >= 2 * 6  # each round goes from a to b, and back for the next


def test_every_model_answers_exactly_the_same_inputs(tiny_task):
    given = {}

    class Noting(Sleeper):
        def predict(self, inputs):
            given.setdefault(self.card.name, set()).update(inputs)
            return super().predict(inputs)

    quick([Noting("a", 0), Noting("b", 0)], tiny_task, rows=10)
    assert given["a"] == given["b"] == set(tiny_task.test["text"])


def test_the_best_batch_size_is_found(tiny_task):
    """A fixed price of 5 ms a call makes the largest batch the best."""
    class Caller(Sleeper):
        def predict(self, inputs):
            time.sleep(0.005)
            return super().predict(inputs)

    assert quick([Caller("calls", 0.01)], tiny_task).measurements[0].batch_size >= 8


def test_fresh_processes_time_the_saved_models_and_the_record_says_how_many(without_torch, tiny_task):
    result = compare(without_torch, tiny_task, rows=20, rounds=2, processes=2, energy=False, memory=False)
    record = result.of(without_torch[1])
    assert (record.settings["processes"], record.settings["rounds"]) == (2, 2)
    assert record.speedup_low <= record.speedup <= record.speedup_high
    assert record.speedup == pytest.approx(record.throughput_per_s / result.measurements[0].throughput_per_s)


def test_each_process_is_a_fresh_one_with_the_same_models(without_torch, tiny_task):
    texts = tiny_task.test["text"][:4]

    def answers(models):
        import os

        return os.getpid(), {name: model.predict(texts) for name, model in models.items()}

    results = in_processes(answers, {model.card.name: model for model in without_torch}, 2)
    assert len({os.getpid(), *(process for process, _ in results)}) == 3
    for _, logits in results:
        for model in without_torch:
            np.testing.assert_array_equal(logits[model.card.name], model.predict(texts))


def test_a_process_that_dies_is_a_sentence(pair):
    with pytest.raises(InputError, match="Process 1 of 2 ended before its result"):
        in_processes(lambda models: os._exit(1), {"one": pair[1]}, 2)


def test_a_process_is_killed_when_its_caller_wants_an_end(pair):
    asked = []
    with pytest.raises(Cancelled):
        in_processes(lambda models: time.sleep(600), {"one": pair[1]}, 2,
                     Progress(cancelled=lambda: asked.append(1) or len(asked) > 2))


@pytest.mark.parametrize("processes", [1, -1])
def test_one_process_gives_no_interval_over_processes(processes, tiny_task):
    with pytest.raises(InputError, match="2 or more"):
        quick([Sleeper("a", 0)], tiny_task, processes=processes)


# Quality without speed

def test_accuracy_differences_are_paired(tiny_task):
    """10 of 30 test rows each: the two are right on different rows, which the interval must show."""
    result = quick([Sleeper("first", 0, answer=0), Sleeper("second", 0, answer=1)], tiny_task, rounds=2)
    record = result.of("second")
    assert (record.accuracy, record.accuracy_delta) == (pytest.approx(1 / 3), 0)
    assert record.accuracy_delta_high - record.accuracy_delta_low > 0.4


def test_megabytes_are_millions_of_bytes(tiny_task):
    assert quick([Sleeper("a", 0)], tiny_task, rounds=2).frame()["artefact_mb"][0] == 1.5


def test_images_are_compared_too():
    record = quick([Sleeper("a", 0)], load_task("digits").take(test=20), rounds=2, memory=True).measurements[0]
    assert (record.rows, record.peak_bytes, record.task) == (20, None, "digits")


def test_the_sleeper_is_a_model():
    assert isinstance(Sleeper("a", 1), Model)


def test_peak_memory_grows_with_the_model(pair, tmp_path):
    """A graph of some 8 MB weighs far less than a process's own libraries, but a broken one is an error."""
    pair[1].save(tmp_path / "model")
    assert peak_bytes(tmp_path / "model", ["a text"]) > 8_000_000
    assert peak_bytes(tmp_path / "model", [np.zeros((8, 8))]) is None


# Ways out

def test_two_models_of_one_name_are_refused(tiny_task):
    with pytest.raises(InputError, match="Two of the models have the same name"):
        compare([Sleeper("a", 1), Sleeper("a", 2)], tiny_task)


@pytest.mark.parametrize("after", [1, 20, 60])
def test_cancel_stops_soon_and_writes_nothing(tiny_task, tmp_path, after):
    asked, store = [], Ledger(tmp_path / "ledger.sqlite")
    with pytest.raises(Cancelled):
        quick([Sleeper("a", 0.1), Sleeper("b", 0.1)], tiny_task, ledger=store,
              progress=Progress(cancelled=lambda: asked.append(1) or len(asked) >= after))
    assert len(asked) == after
    assert store.all() == []


def test_results_that_the_ledger_cannot_take_are_returned_and_said(tiny_task, tmp_path):
    (tmp_path / "file").write_text("where the folder should be")
    store = Ledger(tmp_path / "file" / "ledger.sqlite")
    with pytest.warns(UserWarning, match=r"ledger\.sqlite cannot be written .* The new results are shown and not kept"):
        result = quick([Sleeper("a", 0.1), Sleeper("b", 0.1)], tiny_task, ledger=store)
    assert [one.model for one in result.measurements] == ["a", "b"]


def test_the_next_run_can_time_after_a_cancelled_one(tiny_task, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    asked = []
    with pytest.raises(Cancelled):
        quick([Sleeper("a", 0.1)], tiny_task, progress=Progress(cancelled=lambda: asked.append(1) or len(asked) >= 20))
    with timing_turn(Progress(lambda *_: pytest.fail("the queue is stuck"))):
        pass


def test_a_run_waits_for_the_stopwatch_and_says_its_place(tiny_task, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    said, done = [], threading.Event()

    def run():
        quick([Sleeper("a", 0)], tiny_task, rounds=2, progress=Progress(lambda fraction, message: said.append(message)))
        done.set()

    thread = threading.Thread(target=run)
    with timing_turn():
        thread.start()
        deadline = time.monotonic() + 20
        while "waiting for 1 other runs" not in said and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not done.is_set()
        assert not any("timing" in message for message in said)
    thread.join(timeout=60)
    assert done.is_set()
