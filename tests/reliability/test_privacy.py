"""A run folder may be shared: no key, no home path, no user name is in any of its files."""

import os
import subprocess
import sys
import zipfile

import pytest
from neurotwin.privacy import redact, restore
from neurotwin.run_folder import runs

USER, SECRET = "adalovelace", "hf_Zq81secretsecret"


def content(path):
    """The bytes of a file, those of an archive unpacked."""
    data = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            data += b"".join(archive.read(name) for name in archive.namelist())
    return data


@pytest.mark.parametrize("logger", ["none", "tensorboard", "wandb"])
@pytest.mark.parametrize("fails", [False, True])
def test_what_a_run_writes(logger, fails, example, tmp_path):
    home = tmp_path / "home" / USER
    (home / "data").mkdir(parents=True)
    settings = {"HOME": str(home), "USER": USER, "LOGNAME": USER, "HF_TOKEN": SECRET, "WANDB_MODE": "offline"}
    command = [sys.executable, "-m", "neurotwin.cli", "train", "example/tones", "trainer.accelerator=cpu"]
    command += [f"data_root={home}/data", f"runs_dir={home}/runs", "trainer.max_epochs=2", f"logger={logger}"]
    command += ["optimizer=sgd", "optimizer.lr=1e30"] if fails else []
    done = subprocess.run(
        command, env={**os.environ, **settings}, cwd=home, capture_output=True, text=True, timeout=300
    )
    (run,) = runs(home / "runs")
    assert run.status == ("failed" if fails else "finished"), done.stderr
    files = [path for path in run.path.rglob("*") if path.is_file()]
    assert {"run.json", "config.yaml", "train.log"} <= {path.name for path in files}
    for word in (USER, SECRET, str(tmp_path / "home")):
        leaks = [str(path.relative_to(run.path)) for path in files if word.encode() in content(path)]
        leaks += [str(path) for path in files if word in str(path.relative_to(run.path))]
        assert leaks == [], word


def test_paths_return_for_whoever_reads_them(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("USER", "ada")
    monkeypatch.setenv("LOGNAME", "ada")
    text = "root: /home/ada/data\nscratch: /scratch/ada/x\nother: /home/adam/y\n"
    assert redact(text) == "root: ~/data\nscratch: /scratch/$USER/x\nother: /home/adam/y\n"
    monkeypatch.setenv("HOME", "/home/bob")
    monkeypatch.setenv("USER", "bob")
    monkeypatch.setenv("LOGNAME", "bob")
    config = {"root": "~/data", "deep": [{"scratch": "/scratch/$USER/x"}], "n": 3}
    assert restore(config) == {"root": "/home/bob/data", "deep": [{"scratch": "/scratch/bob/x"}], "n": 3}


@pytest.mark.parametrize(
    "text",
    ["logger.wandb.api_key=abc123", '"api_key": "abc123"', "password: abc123", "auth_token=abc123"],
)
def test_secret_settings_are_struck_out(text):
    assert "abc123" not in redact(text)


def test_ordinary_settings_are_kept(monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "12345678")
    text = "n_tokens: 5\nmax_token: 7\nkeys: [a]\nvalue: 0.12345678\n"
    assert redact(text) == text
