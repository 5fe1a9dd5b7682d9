"""Students without an encoder, which look at words alone: one linear layer, or token vectors and their mean."""

import time
from collections.abc import Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from torch import Tensor, nn

from helpers.lab.data.task import Task
from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.errors import InputError
from helpers.lab.models.model import Card, Model
from helpers.lab.models.modules.classifiers import MeanPoolClassifier
from helpers.lab.models.sklearn import SklearnModel, word_vectorizer
from helpers.lab.models.static import StaticModel
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.progress import Progress, silent
from helpers.model_optimization.distillation.training import make_transfer_set, teacher_logits, train_student
from helpers.model_optimization.encoder.parts import require_torch
from helpers.model_optimization.options import STRATEGY

MAX_WORDS = 2  # in a row, that count as one feature of the linear student
RIDGE = 1.0  # the penalty on the linear student's squared weights
_HALF_FREQUENCY = 1e-3  # a word this frequent counts half (Arora et al., 2017, 'A simple but tough-to-beat baseline')


def distill_linear(teacher: Model, task: Task, *, augmented: int = 4, seed: int = 0,
                   progress: Progress = silent) -> SklearnModel:
    """TF-IDF of words and word pairs, and one linear layer fitted to the teacher's logits (Ba and Caruana, 2014).

    The same kind of model as `tfidf_baseline`, but what it learns of a text is how near each class
    is, not which one is right. So it knows better what it is unsure of: as the first stage of a
    cascade it answers more texts.

    Args:
        augmented: altered copies of each training text to be added to them.

    Raises:
        InputError: not a text task, or a negative number of copies.
        Cancelled: the caller of `progress` wants an end; asked while the teacher answers and before fitting.
    """
    began = time.perf_counter()
    transfer_set = make_transfer_set(task, (), augmented, seed)
    logits = teacher_logits(teacher, transfer_set.texts, progress.part(0.0, 0.9))
    progress(0.9, "fitting the linear student")
    vectorizer = word_vectorizer(MAX_WORDS).fit(task.train["text"][:])
    fitted = Ridge(alpha=RIDGE).fit(vectorizer.transform(transfer_set.texts),
                                    logits - logits.mean(axis=1, keepdims=True))  # probabilities: differences only
    progress(1.0, "done")
    card = Card("linear student, TF-IDF", len(task.labels), STRATEGY,
                {"runtime": "scikit-learn", "words": MAX_WORDS,
                 "transfer_rows": len(transfer_set.texts) - len(task.train), "seed": seed,
                 "teacher": teacher.card.name},
                parameters=int(fitted.coef_.size), made_in_s=time.perf_counter() - began, labels=task.labels)
    return SklearnModel(card, make_pipeline(vectorizer, linear_classifier(fitted)))


def linear_classifier(fitted: Ridge) -> LogisticRegression:
    """The linear layer with a softmax behind it; of two classes scikit-learn wants the second's lead alone."""
    classifier = LogisticRegression()
    classifier.classes_ = np.arange(len(fitted.coef_))
    classifier.coef_, classifier.intercept_ = fitted.coef_, fitted.intercept_
    if len(fitted.coef_) == 2:
        classifier.coef_, classifier.intercept_ = np.diff(fitted.coef_, axis=0), np.diff(fitted.intercept_)
    return classifier


def distill_static(teacher: TorchTextModel, task: Task, *, dimensions: int = 128, hidden: int = 256,
                   augmented: int = 4, epochs: float = 8.0, learning_rate: float = 2e-3, seed: int = 0,
                   progress: Progress = silent) -> StaticModel:
    """A static-embedding student: token vectors from the teacher, their mean, one hidden layer.

    As model2vec makes them: the teacher embeds every token of its vocabulary alone, principal
    components shorten the vectors, frequent tokens are scaled down (by their counts in the training
    texts). Then vectors and layer are trained together on the teacher's logits, as in `distill`.

    Args:
        dimensions: values per token; hidden: width of the layer between mean and logits.

    Raises:
        InputError: more dimensions than the teacher has, or a teacher without the mean-pooling head.
        Cancelled: the caller of `progress` wants an end; asked at each step.
    """
    require_torch(teacher, "distilled")
    if not isinstance(teacher.module, MeanPoolClassifier):
        raise InputError("Token vectors are taken from models of baseline(), whose head reads the mean of the vectors.")
    if not 1 <= dimensions <= teacher.module.config.hidden_size or hidden < 1:
        raise InputError(f"A static student has 1 to {teacher.module.config.hidden_size} dimensions here and at least "
                         f"one hidden unit, not {dimensions} and {hidden}.")
    began = time.perf_counter()
    transfer_set = make_transfer_set(task, (), augmented, seed)
    rows = teacher.encoder.encode(task.train["text"][:])
    vectors = principal_components(token_vectors(teacher, progress.part(0.0, 0.2)), dimensions)
    logits = teacher_logits(teacher, transfer_set.texts, progress.part(0.2, 0.5))
    torch.manual_seed(seed)
    module = _StaticModule(vectors * _rarity(rows, len(vectors))[:, None], hidden, len(task.labels))
    train_student(module, teacher.encoder.encode, transfer_set, logits, epochs=epochs, learning_rate=learning_rate,
                  seed=seed, progress=progress.part(0.5, 1.0), say="distilling")
    weights = module.arrays()
    card = Card(f"static student, {dimensions} values per token, numpy", len(task.labels), STRATEGY,
                {"runtime": "numpy", "dimensions": dimensions, "hidden_units": hidden,
                 "temperature": transfer_set.temperature, "alpha": transfer_set.alpha,
                 "transfer_rows": len(transfer_set.texts) - len(task.train), "epochs": epochs,
                 "learning_rate": learning_rate, "seed": seed, "teacher": teacher.card.name},
                parameters=sum(array.size for array in weights.values()),
                macs=hidden * (dimensions + len(task.labels)), made_in_s=time.perf_counter() - began,
                labels=task.labels)
    return StaticModel(card, teacher.encoder, weights)


@torch.inference_mode()
def token_vectors(teacher: TorchTextModel, progress: Progress = silent, batch: int = 512) -> np.ndarray:
    """(vocabulary, width) float32: the teacher's embedding of each token as a text by itself."""
    target = next(teacher.module.parameters()).device
    size = teacher.module.config.vocab_size
    before, after = _frame(teacher.encoder)
    parts = []
    for start in range(0, size, batch):
        progress(start / size, f"embedding token {start + 1:,} of {size:,}")
        ids = torch.tensor([[*before, token, *after] for token in range(start, min(start + batch, size))],
                           device=target)
        parts.append(teacher.module.embed(ids, torch.ones_like(ids)).float().cpu().numpy())
    return np.concatenate(parts)


def _frame(encoder: TextEncoder) -> tuple[list[int], list[int]]:
    """The tokens that the tokenizer puts before and after each text."""
    empty, word = encoder.encode(["", "a"])
    if empty == [encoder.pad_id] and word[0] != encoder.pad_id:  # stands in for a text of no tokens: there are no marks
        return [], []
    half = (len(empty) + 1) // 2
    return empty[:half], empty[half:]


def principal_components(vectors: np.ndarray, dimensions: int) -> np.ndarray:
    """(n, dimensions) float32: centred, turned to the directions of most variance, scaled to variance 1 overall."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)  # ascending
    short = centred @ directions[:, ::-1][:, :dimensions]
    return (short / short.std()).astype(np.float32)


def _rarity(rows: Sequence[Sequence[int]], vocabulary: int) -> np.ndarray:
    """(vocabulary,) float32 weights: near 1 for rare tokens, near 0 for those in every text."""
    counts = np.bincount(np.concatenate(rows), minlength=vocabulary)
    return (_HALF_FREQUENCY / (_HALF_FREQUENCY + counts / counts.sum())).astype(np.float32)


class _StaticModule(nn.Module):
    """Trainable form of StaticModel: computes the same function."""

    def __init__(self, vectors: np.ndarray, hidden: int, classes: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding.from_pretrained(torch.from_numpy(vectors), freeze=False)
        self.hidden = nn.Linear(vectors.shape[1], hidden)
        self.out = nn.Linear(hidden, classes)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(n, classes) logits of (n, length) ids."""
        weights = mask.unsqueeze(-1).to(self.vectors.weight.dtype)
        mean = (self.vectors(ids) * weights).sum(1) / weights.sum(1).clamp(min=1)
        return self.out(self.hidden(mean).relu())

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights under StaticModel's names."""
        tensors = {"vectors": self.vectors.weight, "hidden_weight": self.hidden.weight, "hidden_bias": self.hidden.bias,
                 "out_weight": self.out.weight, "out_bias": self.out.bias}
        return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
