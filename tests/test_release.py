"""One version in every place that states it."""

import tomllib

import neurotwin
import yaml
from conftest import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert VERSION == neurotwin.__version__ == citation["version"]
    assert f"## {VERSION}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_paper_is_cited():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    cited = {f"{entry['authors'][0]['family-names'].lower()}{entry['year']}" for entry in citation["references"]}
    papers = {path.parent.name for path in (ROOT / "experiments").glob("*/paper.yaml")}
    assert papers <= cited


def test_a_release_carries_its_bill_of_materials():
    steps = yaml.safe_load((ROOT / ".github/workflows/release.yaml").read_text(encoding="utf-8"))["jobs"]["build"][
        "steps"
    ]
    commands = " ".join(step.get("run", "") for step in steps)
    assert "cyclonedx-py environment" in commands
    assert "-o dist/" in commands
