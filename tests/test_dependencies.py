"""Dependencies: known-bad releases stay out, the lock fits the bounds, every lower bound is stated."""

import re
import tomllib
from importlib import metadata

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
GROUPS = PROJECT["dependency-groups"]
CORE = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
ALL = [*CORE, *(Requirement(text) for part in (*EXTRAS.values(), *GROUPS.values()) for text in part)]
#: Releases that must never be installed, and why.
KNOWN_BAD = {
    "lightning": ("==2.6.2", "==2.6.3"),  # malicious
    "pytorch-lightning": ("==2.6.2", "==2.6.3"),  # malicious
    "hydra-optuna-sweeper": (">=0",),  # installs optuna 2.10, ends a sweep at the first failed trial
    "litdata": (">=0",),  # replaces torch by a CUDA build through torchvision
    "torcheeg": (">=0",),  # holds scipy at 1.10
}


def locked():
    """Name to version of the lock; of several for different systems the last."""
    lines = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8").splitlines()
    pins = [re.match(r"([A-Za-z0-9._-]+)==([^ ;]+)", line) for line in lines if not line.startswith("#")]
    assert all(pins), "requirements/dev.txt: name==version lines only"
    return {canonicalize_name(pin[1]): pin[2] for pin in pins}


def bad(name, version):
    """Whether a release is known to be bad."""
    return any(version in SpecifierSet(spec) for spec in KNOWN_BAD.get(canonicalize_name(name), ()))


@pytest.mark.parametrize("name", [canonicalize_name(r.name) for r in ALL if canonicalize_name(r.name) in KNOWN_BAD])
def test_no_bound_allows_a_bad_release(name):
    specifier = next(r.specifier for r in ALL if canonicalize_name(r.name) == name)
    allowed = [spec for spec in KNOWN_BAD[name] if spec.removeprefix("==") in specifier]
    assert allowed == []


def test_no_bad_release_is_locked_or_installed():
    installed = {(dist.name or "", dist.version) for dist in metadata.distributions()}
    assert [pair for pair in (*locked().items(), *installed) if bad(*pair)] == []


def test_the_check_finds_a_bad_release():
    assert bad("Lightning", "2.6.3")
    assert bad("litdata", "0.2.1")
    assert not bad("lightning", "2.6.4")


@pytest.mark.parametrize("requirement", ALL, ids=str)
def test_every_dependency_states_a_lower_bound(requirement):
    assert any(clause.operator in (">=", "==", "~=", ">") for clause in requirement.specifier)


def test_the_lock_is_fresh():
    """Every dependency is locked, inside its bounds; `make lock` writes the file anew."""
    pins = locked()
    needed = [*CORE, *(Requirement(text) for group in ("dev", "docs") for text in GROUPS[group])]
    stale = [
        str(r) for r in needed if not r.specifier.contains(pins.get(canonicalize_name(r.name), "0"), prereleases=True)
    ]
    assert stale == [], "run `make lock`"


def test_the_lock_names_no_index_and_no_file():
    text = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")
    assert not re.search(r"://|--|@ ", text)
