"""The source never loads, unpacks or runs what a file tells it to: every call is looked at."""

import ast

import pytest
from conftest import ROOT

SOURCES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])
#: Calls that are never right here, by the end of their dotted name.
FORBIDDEN = {
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load", "dill.load", "cloudpickle.load"),
    *("pd.read_pickle", "pandas.read_pickle", "yaml.load", "yaml.unsafe_load", "yaml.full_load"),
    *("os.system", "os.popen", "eval", "exec", "torch.hub.load", "torch.jit.load"),
    *("extractall", "shutil.unpack_archive", "load_from_checkpoint"),
}
#: Calls that must say how, by the end of their dotted name: the argument and its only value.
GUARDED = {
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "np.save": ("allow_pickle", False),
    "torch.load": ("weights_only", True),
    "trainer.fit": ("weights_only", True),
    "trainer.test": ("weights_only", True),
    "trainer.validate": ("weights_only", True),
    "trainer.predict": ("weights_only", True),
    "skops.io.loads": ("trusted", None),
    "skops.io.load": ("trusted", None),
}


def calls(path):
    """Line and dotted name of every call in a file, and its keywords."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func), {word.arg: word.value for word in node.keywords}


def faults(path):
    """What a file does that it must not."""
    for line, name, keywords in calls(path):
        where = f"{path.name}:{line}: {name}"
        if name in FORBIDDEN or any(
            "." not in end and name.endswith(f".{end}") for end in FORBIDDEN - {"eval", "exec"}
        ):
            yield where
        for guarded, (word, value) in GUARDED.items():
            if name == guarded or name.endswith(f".{guarded}"):
                given = keywords.get(word)
                if guarded.startswith("trainer.") and "ckpt_path" not in keywords:
                    continue
                if given is None or (value is not None and ast.literal_eval(given) is not value):
                    yield f"{where} without {word}={value}"
        if isinstance(given := keywords.get("shell"), ast.Constant) and given.value:
            yield f"{where} with shell=True"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_call_runs_what_a_file_says(path):
    assert list(faults(path)) == []


def test_the_audit_finds_what_it_looks_for(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text(
        "import numpy as np, torch, pickle\n"
        "np.load(p)\nnp.load(p, allow_pickle=True)\ntorch.load(p)\ntorch.load(p, weights_only=False)\n"
        "pickle.loads(b)\nzipfile.ZipFile(p).extractall('.')\neval(x)\nsubprocess.run(x, shell=True)\nmodel.eval()\n"
        "np.load(p, allow_pickle=False)\n"
    )
    assert [fault.split(":")[1] for fault in faults(bad)] == ["2", "3", "4", "5", "6", "7", "8", "9"]
