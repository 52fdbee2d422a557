"""What the documentation tells readers to type is what the program understands; the tutorials run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from neurotwin.cli import build_parser
from neurotwin.config import compose, expand
from neurotwin.registry import list_configs

PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "experiments").glob("*/README.md")]
PAGES += [path for name in ("tutorials", "how_to", "explanation") for path in (ROOT / "docs" / name).glob("*.md")]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("[!i]*.md"))
#: Names that stand for a reader's own files.
OWN = ("my_clinic", "tiny", "mine", "FOLDER")


def commands(page: Path) -> list[list[str]]:
    """Arguments of every ``$ neurotwin …`` line."""
    lines = re.findall(r"^\$ neurotwin (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("page", sorted(PAGES), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_understood(page):
    experiments = {entry.name for entry in list_configs()}
    for arguments in commands(page):
        options, rest = build_parser().parse_known_args(arguments)
        if rest and any(text.startswith("-") for text in rest):
            pytest.fail(f"neurotwin {' '.join(arguments)}: {rest} is not understood")
        name = getattr(options, "experiment", "")
        own = any(word in text for text in arguments for word in OWN)
        if arguments[0] not in ("train", "show", "check") or own or "droput" in " ".join(arguments):
            continue
        assert name in experiments, f"neurotwin {' '.join(arguments)}"
        for job in expand([*options.overrides, *rest]):
            compose(name, job)


@pytest.mark.slow
@pytest.mark.timeout(3600)  # several CPU-minutes, which take long on a busy machine
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_tutorial_runs(page, tmp_path):
    environment = {**os.environ, "NEUROTWIN_RUNS": str(tmp_path / "runs")}
    for arguments in commands(page):
        command = [sys.executable, "-m", "neurotwin.cli", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1800)
        assert done.returncode == 0, f"neurotwin {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
    pages = list(tmp_path.glob("*.html"))
    assert len(pages) == 1
    assert "application/json" in pages[0].read_text(encoding="utf-8"), "the page shows an interactive figure"
