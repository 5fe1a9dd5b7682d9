"""One small model in each runtime, and saved."""

import pytest

from helpers.lab import export, tfidf_baseline


@pytest.fixture(scope="module")
def models(tiny_model, tiny_task):
    return {"pytorch": tiny_model, "onnxruntime": export(tiny_model, "onnxruntime"),
            "openvino": export(tiny_model, "openvino"), "scikit-learn": tfidf_baseline(tiny_task)}


@pytest.fixture(scope="module")
def saved(models, tmp_path_factory):
    """Folders with the models in them; not to be changed."""
    folders = {name: tmp_path_factory.mktemp("models") / name for name in models}
    for name, folder in folders.items():
        models[name].save(folder)
    return folders


@pytest.fixture(scope="module")
def texts(tiny_task):
    """81 texts of 2 to 13 words, and one of 200."""
    return [*tiny_task.train["text"][:], "hammer and rain " * 70]
