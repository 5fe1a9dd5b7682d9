"""Batch inference of a user's file with Ray Data: on this machine, or on the cluster that RAY_ADDRESS names."""

import dataclasses
import functools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.lab.data.files import read_frame, write_separated
from helpers.lab.errors import InputError
from helpers.lab.machine import usable_cores
from helpers.lab.paths import replacing
from helpers.lab.sweeping import ray_cluster

_WRITERS = {".csv": write_separated,
            ".tsv": functools.partial(write_separated, separator="\t"),
            ".jsonl": functools.partial(pd.DataFrame.to_json, orient="records", lines=True, force_ascii=False),
            ".parquet": pd.DataFrame.to_parquet}
_FAILED = "The prediction failed on a batch: "


@dataclasses.dataclass(frozen=True)
class FileRun:
    """Result of a run: its folder, its rows, and its speed. `seconds` include the start of the workers."""

    output: Path
    rows: int
    workers: int
    seconds: float

    def sentence(self) -> str:
        """The finding, computed from the figures."""
        return (f"{self.rows:,} rows answered by {self.workers} workers in {self.seconds:.1f} s "
                f"({self.rows / self.seconds:,.0f} rows/s, their start included): {self.output.name}.")


def predict_file(path: str | Path, output: str | Path, make_predict: Callable[[], Callable[[Sequence[str]], Any]], *,
                 text: str = "text", column: str = "prediction", batch_size: int = 64,
                 workers: int | None = None) -> FileRun:
    """Answer each row of a file once, on several worker processes, and write the file again with one more column.

    Args:
        path, output: CSV, TSV, JSONL or Parquet, by suffix. The output holds all rows and columns of the input, in
            its order, and appears only when it is whole.
        make_predict: called once in each worker (load the model there); returns predict(texts) -> (n,) answers.
        text: the column that is read; `column`: the new one.
        batch_size: texts a call; also what is done again if a worker dies.
        workers: processes with one CPU each (default: this machine's cores).

    >>> from helpers.cloud_distributed import predict_file
    >>> from helpers.lab import tfidf_baseline, load_task
    >>> def make_predict():
    ...     model = tfidf_baseline(load_task("tickets"))
    ...     return lambda texts: model.predict(texts).argmax(axis=1)
    >>> predict_file("messages.csv", "answers.csv", make_predict).rows  # doctest: +SKIP
    720

    A worker that dies is replaced and its batch given to another one. Rows carry their number: that each came back
    exactly once is checked before anything is written.

    Raises:
        InputError: Ray is not installed, a file or column cannot be used, or predict failed on a batch.
        RuntimeError: rows were lost or doubled after all; nothing was written.
    """
    path, output = Path(path), Path(output)
    frame = read_frame(path)
    if text not in frame:
        raise InputError(f"{path.name} has no column '{text}'. Its columns: {', '.join(map(str, frame.columns))}. "
                         "Name the right one with text=.")
    if output.suffix.lower() not in _WRITERS:
        raise InputError(f"{output.name} is no {', '.join(_WRITERS)} file: name the output with one of these suffixes.")
    if column in frame:
        raise InputError(f"{path.name} already has a column '{column}': choose another name with column=.")
    workers = usable_cores() if workers is None else workers
    if batch_size < 1 or workers < 1:
        raise InputError(f"batch_size and workers are counted from 1; got {batch_size} and {workers}.")
    started = time.monotonic()
    frame[column] = _answers(frame[text].astype(str).to_numpy(object), make_predict, batch_size, workers)
    with replacing(output) as unfinished:
        _WRITERS[output.suffix.lower()](frame, unfinished)
    return FileRun(output, len(frame), workers, time.monotonic() - started)


def _answers(texts: np.ndarray, make_predict: Callable, batch_size: int, workers: int) -> list[Any]:
    """(n,) answers in the order of the texts."""
    answers: list[Any] = [None] * len(texts)
    times = np.zeros(len(texts), int)
    with ray_cluster() as ray:
        try:
            for row, answer in _stream(texts, make_predict, batch_size, workers):
                answers[row] = answer
                times[row] += 1
        except ray.exceptions.RayError as error:
            reason = re.search(f"{_FAILED}.*", str(error))  # Ray wraps it in traces and advice
            raise InputError(reason[0] if reason else f"Ray gave up: {str(error).strip().splitlines()[0]}") from error
    if (times != 1).any():
        raise RuntimeError(f"{int((times == 0).sum())} rows were lost and {int((times > 1).sum())} came back more than "
                           "once. Nothing was written.")
    return answers


def _stream(texts: np.ndarray, make_predict: Callable, batch_size: int, workers: int) -> Iterator[tuple[int, Any]]:
    """Row numbers and answers as they come, in no order."""
    import ray.data

    failed = _FAILED

    class Worker:  # defined here, so that it is sent as code: a cluster need not have this package
        def __init__(self) -> None:
            self.predict = make_predict()

        def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            try:
                answers = np.asarray(self.predict([str(one) for one in batch["text"]]))
            except Exception as error:
                raise RuntimeError(f"{failed}{type(error).__name__}: {error}") from error
            if answers.shape != batch["row"].shape:
                raise ValueError(f"{failed}it gave answers of shape {answers.shape} for {len(batch['row'])} texts, and "
                                 "one for each text is needed.")
            return {"row": batch["row"], "answer": answers}

    # One block a batch: what a dead worker had in hand, and no more, is done again.
    blocks = [pd.DataFrame({"row": np.arange(first, min(first + batch_size, len(texts))),
                            "text": texts[first:first + batch_size]}) for first in range(0, len(texts), batch_size)]
    context = ray.data.DataContext.get_current()
    bars, context.enable_progress_bars = context.enable_progress_bars, False
    try:
        answered = ray.data.from_pandas(blocks).map_batches(
            Worker, batch_size=batch_size, num_cpus=1, compute=ray.data.ActorPoolStrategy(size=workers))
        for batch in answered.iter_batches(batch_size=None, batch_format="numpy"):
            yield from zip(batch["row"].tolist(), batch["answer"].tolist(), strict=True)
    finally:
        context.enable_progress_bars = bars
