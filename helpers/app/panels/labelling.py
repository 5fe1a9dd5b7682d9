"""Panels for annotators: review doubtful labels, or label the rows that a strategy asks for."""

import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ipywidgets
import pandas as pd

from helpers.app.charts.plots import lines_spec
from helpers.app.jobs.job import BUSY, Job
from helpers.app.panels.exploring import shown_in_place
from helpers.app.panels.frame import Download, JobButtons, PanelFrame, Status, row
from helpers.app.panels.uploads import Upload
from helpers.app.problems import guarded
from helpers.app.records import rows_csv, rows_of
from helpers.lab.errors import InputError
from helpers.lab.paths import is_page

MAX_SHOWN = 1_200  # characters of a text
LABELS_PER_POINT = 5  # of the curve


class ReviewPanel(PanelFrame):
    """Doubtful rows one by one: keep, relabel, drop, undo. Each decision is on the disk before the next is shown.

    Args:
        open_log: (texts, labels) -> the log of decisions on them, such as `helpers.data_efficiency.Review`: with texts,
            path, decisions, decide(row, action, label), undo() and cleaned(). For a file it also gets lines=, where the
            rows stand in it.
        texts, labels: the rows to begin with.
        flags: columns row, given, suggested, doubt, and line where they come from a file; most doubtful first.
        usd_per_review: the cost of reviewing one row.
        check: `check(report, path)` runs in another process on a file that the reader uploads or, in the lesson, names
            (a page takes no paths: its readers are strangers to this machine), and gives {"texts", "labels", "flags",
            "lines"} to go on with. Without it there is no place for a file.
    """

    def __init__(self, open_log: Callable[..., Any], texts: Sequence[str],
                 labels: Sequence[str], flags: pd.DataFrame, *, usd_per_review: float,
                 check: Callable[..., dict] | None = None) -> None:
        self._open_log, self._usd = open_log, usd_per_review
        self._status, self._row = Status(), ipywidgets.HTML(layout={"width": "100%"})
        self._choice = ipywidgets.Dropdown(options=[], description="Label")
        self._buttons = {name: ipywidgets.Button(description=text, layout={"width": "auto"}) for name, text in
                         (("keep", "Keep"), ("relabel", "Relabel"), ("drop", "Drop"), ("undo", "Undo"))}
        for name, button in self._buttons.items():
            button.on_click(guarded(self._status.fail)(lambda _button, name=name: self._decide(name)))
        files = {"cleaned file": ("cleaned.csv", "text/csv", self._cleaned_csv),
                 "change log": ("changes.jsonl", "application/json", self._log_text)}
        super().__init__([*(self._file_box(check) if check else []), self._row,
                          row([self._choice, *self._buttons.values()]), self._status,
                          Download(files, self._status.fail)])
        self.show(texts, labels, flags)

    def show(self, texts: Sequence[str], labels: Sequence[str], flags: pd.DataFrame,
             lines: Sequence[int] | None = None) -> None:
        """Begin with other rows (and where they stand in a file); what was decided on them before stands again."""
        self.review = self._open_log(texts, labels, **({} if lines is None else {"lines": lines}))
        self._flags = flags.reset_index(drop=True)
        self._choice.options = sorted(set(labels))
        self._draw()

    def set_cost(self, usd_per_review: float) -> None:
        """Count what was reviewed, and what will be, at another cost."""
        self._usd = usd_per_review
        self._draw()

    def _decide(self, name: str) -> None:
        if name == "undo":
            self.review.undo()
        elif (flag := self._next()) is not None:
            self.review.decide(int(flag["row"]), name, self._choice.value if name == "relabel" else None)
        self._draw()

    def _next(self) -> dict | None:
        done = self.review.decisions
        return next((flag for flag in self._flags.to_dict("records") if flag["row"] not in done), None)

    def _draw(self) -> None:
        flag, done = self._next(), self.review.decisions
        for name, button in self._buttons.items():
            button.disabled = not done if name == "undo" else flag is None
        if flag is None:
            self._row.value = "<p>Every doubtful row has been reviewed.</p>"
        else:
            self._choice.value = flag["suggested"]
            self._row.value = _shown(self.review.texts[int(flag["row"])], flag)
        counts = {name: sum(entry["action"] == name for entry in done.values()) for name in ("keep", "relabel", "drop")}
        by_action = ", ".join(f"{count} {name}" for name, count in counts.items())
        self._status.say(f"{len(done)} of {len(self._flags)} reviewed ({by_action}), ${len(done) * self._usd:.2f}. "
                         + self._saved())

    def _saved(self) -> str:
        if is_page():
            return "Kept until you leave this page: download the change log to go on from it."
        return f"Saved in {self.review.path.name}."

    def _cleaned_csv(self) -> str:
        return rows_csv(rows_of(self.review.cleaned()[["text", "label"]]))

    def _log_text(self) -> str:
        return self.review.path.read_text(encoding="utf-8") if self.review.path.exists() else ""

    def _file_box(self, check: Callable[..., dict]) -> list[ipywidgets.Widget]:
        self._job, self._upload = Job(check), Upload("Your file", self._status)
        self._path = None if is_page() else ipywidgets.Text(
            description="or its path", placeholder="path of a CSV with columns text and label")
        self._check = JobButtons(self._job, "Check this file", self._chosen, self._status)
        self._of = ipywidgets.HTML(layout={"width": "100%"})
        self._job.observe(guarded(self._status.fail)(self._go_on), "state")
        return [row([part for part in (self._upload, self._path, self._check) if part is not None]), self._of]

    def _chosen(self) -> dict[str, str]:
        if self._job.state in BUSY:
            raise InputError("A file is still being checked: wait for it or cancel it first.")
        path = self._upload.file
        if path is None and self._path is not None and self._path.value.strip():
            path = Path(self._path.value.strip()).expanduser()
        if path is None:
            raise InputError("Choose a file first: a CSV with the columns text and label.")
        self._name = path.name
        return {"path": str(path)}

    def _go_on(self, _change: Any) -> None:
        if self._job.state == "done":
            self._of.value = f"<p>These are rows of <b>{html.escape(self._name)}</b>.</p>"
            self.show(**self._job.result)


class LabelPanel(PanelFrame):
    """The reader labels the rows that a strategy asks for; their learning curve stands beside that of random selection.

    Args:
        texts: all rows. labels: names of the classes.
        ask: (rows labelled so far, their labels) -> the next row.
        score: the same, and the name of an arm, "you" or "random" -> accuracy on the test rows.
        constant: the accuracy of always giving the most frequent label there.
    """

    def __init__(self, texts: Sequence[str], labels: Sequence[str], ask: Callable[[list[int], list[str]], int],
                 score: Callable[[list[int], list[str], str], float], constant: float | None = None) -> None:
        self._constant = constant
        self._texts, self._ask, self._score = list(texts), ask, score
        self.rows: list[int] = []
        self.given: list[str] = []
        self._points: list[dict] = []
        self._text, self._status = ipywidgets.HTML(layout={"width": "100%"}), Status()
        self._choice = ipywidgets.Dropdown(options=list(labels), description="Label")
        self._save = ipywidgets.Button(description="This label", layout={"width": "auto"})
        self._undo = ipywidgets.Button(description="Undo", disabled=True, layout={"width": "auto"})
        self._save.on_click(guarded(self._status.fail)(lambda _button: self.answer(self._choice.value)))
        self._undo.on_click(guarded(self._status.fail)(lambda _button: self.take_back()))
        self._chart = ipywidgets.VBox(layout={"width": "100%"})
        super().__init__([self._text, row([self._choice, self._save, self._undo]), self._status, self._chart])
        self._show_next()

    def answer(self, label: str) -> None:
        """Label the row that is shown, and go on to the next."""
        self.rows.append(self._asked)
        self.given.append(label)
        if len(self.rows) % LABELS_PER_POINT == 0:
            self._points += [{"labels": len(self.rows), "accuracy": self._score(self.rows, self.given, arm),
                              "who": arm} for arm in ("random", "you")]
            self._draw()
        self._show_next()

    def take_back(self) -> None:
        """Take the last label back."""
        if self.rows:
            self._asked = self.rows.pop()
            self.given.pop()
            self._points = [point for point in self._points if point["labels"] <= len(self.rows)]
            self._draw()
            self._show(self._asked)

    def _show_next(self) -> None:
        if len(self.rows) == len(self._texts):
            self._save.disabled = True
            self._status.say("All rows are labelled.")
            return
        self._asked = self._ask(self.rows, self.given)
        self._show(self._asked)

    def _show(self, row: int) -> None:
        self._text.value = _shown(self._texts[row])
        self._save.disabled, self._undo.disabled = False, not self.rows
        left = LABELS_PER_POINT - len(self.rows) % LABELS_PER_POINT
        self._status.say(f"{len(self.rows)} labelled; the next point of the curve comes after {left} more.")

    def _draw(self) -> None:
        if not self._points:
            self._chart.children = []
            return
        last = {point["who"]: point["accuracy"] for point in self._points}
        spec = lines_spec(pd.DataFrame(self._points), "labels", "accuracy", "who", percent=True,
                          constant=self._constant,
                          title=f"You {last['you']:.0%}, random {last['random']:.0%} after "
                                f"{self._points[-1]['labels']} labels")
        old = self._chart.children[0] if self._chart.children else None
        self._chart.children = [shown_in_place(spec, old)]


def _shown(text: str, flag: Mapping[str, Any] | None = None) -> str:
    """A row as HTML; markup in it is shown, not obeyed."""
    cut = html.escape(text[:MAX_SHOWN]) + (" ..." if len(text) > MAX_SHOWN else "")
    line = f" Line {flag['line']} of the file." if flag is not None and "line" in flag else ""
    labels = "" if flag is None else (
        f"<p>Given: <b>{html.escape(str(flag['given']))}</b>. Suggested: <b>{html.escape(str(flag['suggested']))}</b> "
        f"(doubt {flag['doubt']:.2f}).{line}</p>")
    return f"<blockquote class='app-row-text mathjax_ignore'>{cut}</blockquote>{labels}"
