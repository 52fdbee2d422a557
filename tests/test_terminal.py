"""What a terminal, a pipe and a completing shell get to see."""

import json
import os
import subprocess
import sys

import pytest
from made_runs import make_run
from neurotwin import completion
from neurotwin.cli import build_parser, main
from neurotwin.provenance import process_identity
from neurotwin.run_folder import Run, load_run
from neurotwin.terminal import run_row


@pytest.fixture
def running(tmp_path, monkeypatch) -> Run:
    monkeypatch.setenv("NEUROTWIN_RUNS", str(tmp_path))
    run = make_run(tmp_path, "aaaa", status="running", cost={"wall_s": 30.0})
    config = run.path / "config.yaml"
    config.write_text(config.read_text() + "trainer: {max_epochs: 12}\n")
    run.update(process=process_identity())
    return load_run(run.path)


def test_time_left_is_that_of_the_epochs_so_far(running):
    row = run_row(running)
    assert row["epoch"] == "3/12"
    assert row["left"] == pytest.approx(90.0)


def test_a_pipe_gets_plain_columns_and_watch_ends(running, capsys):
    assert main(["runs", "--watch"]) == 0
    out = capsys.readouterr().out
    assert "3/12" in out
    assert "\x1b" not in out


def test_json_of_every_listing_verb(running, capsys):
    assert main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["epoch"] == "3/12"
    assert main(["list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["kind"] == "experiment"
    assert main(["show", "mallick2024/demo", "seed=3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seed"] == {"value": 3, "from": "command line"}


def test_completion_knows_experiments_runs_keys_and_members(running):
    assert "mallick2024/demo" in completion.experiments()
    assert "aaaa" in completion.runs()
    options = build_parser().parse_args(["train", "mallick2024/demo"])
    assert "model.dropout=" in completion.overrides("model.d", options)
    assert "model=spectrum_net" in completion.overrides("model=", options)
    assert "TF/lumped" in completion.rows(build_parser().parse_args(["reproduce", "burghi2025"]))
    assert completion.rows(build_parser().parse_args(["reproduce"])) == []
    unknown = build_parser().parse_args(["train", "nobody/nothing"])
    assert completion.overrides("model.", unknown) == []


def test_the_shell_gets_its_answer(running, tmp_path):
    line = "neurotwin train mallick2024/d"
    answer = tmp_path / "answer"
    settings = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    environment = {**os.environ, **settings, "_ARGCOMPLETE_STDOUT_FILENAME": str(answer)}
    subprocess.run([sys.executable, "-m", "neurotwin.cli"], env=environment, check=True, timeout=60)
    assert answer.read_text().split() == ["mallick2024/demo"]


def test_a_flag_that_is_a_setting_is_told_how_to_be_written(running, capsys):
    with pytest.raises(SystemExit):
        main(["train", "mallick2024/demo", "--seed", "1"])
    assert "settings are written key=value: seed=…" in capsys.readouterr().err
