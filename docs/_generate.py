"""Pages made from code, configuration files and recorded results, so that no number in the site is typed by hand."""

import os
import re
import tempfile
from pathlib import Path

from neurotwin.cli import build_parser
from neurotwin.config import compose_part, load_config
from neurotwin.errors import MissingDataError, NeurotwinError
from neurotwin.gates import build_part
from neurotwin.registry import KINDS, list_configs, papers

#: What each part of the package is for, in the order of the reference.
PARTS = {
    "simulators": "Recordings with ground truth.",
    "datamodules": "Files or simulations to batches: readers, windows, folds, fingerprints.",
    "models": "Networks and dynamical systems: plain `torch.nn.Module`s.",
    "tasks": "Loss, metrics, training algorithm, figures.",
    "metrics": "Scores that the field needs.",
    "biophysics": "Equations of nature.",
    "contracts": "What the layers say to each other.",
    "reporting": "Reports.",
    "sweeps": "Searches over settings.",
    "leakage": "The audit of a split.",
}


def generate(target: Path) -> None:
    """Write every generated page below ``target``."""
    source = Path(__file__).resolve().parents[1]
    pages = {
        **{f"papers/{name}.md": paper(folder) for name, folder in papers().items()},
        **{f"reference/{name}.md": part(source / "src", name, text) for name, text in PARTS.items()},
        "reference/configuration.md": configuration(),
        "reference/command_line.md": command_line(),
        "data_sets.md": data_sets(),
    }
    for name, text in pages.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:  # an unchanged page is not built again
            path.write_text(text, encoding="utf-8")


def paper(folder: Path) -> str:
    """A paper's README, whose tables are written from ``expected.json``."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    # What is linked inside the checkout is not part of the site.
    text = re.sub(r"\[([^\]]*)\]\((?!https?://)[^)]*\)", r"\1", text)
    return re.sub(r"^<!--.*-->\n", "", text, flags=re.MULTILINE)


def part(source: Path, name: str, text: str) -> str:
    """Reference of one sub-package from its docstrings."""
    lines = [f"# {name}", "", text, ""]
    modules = sorted(path for path in (source / name).rglob("*.py") if not path.stem.startswith("_"))
    for path in modules:
        dotted = ".".join(["neurotwin", *path.relative_to(source).with_suffix("").parts])
        lines += [f"## {dotted.split('.', 2)[2]}", "", "```{eval-rst}", f".. automodule:: {dotted}", "```", ""]
    if not modules:
        lines += ["```{eval-rst}", f".. automodule:: neurotwin.{name}", "```", ""]
    return "\n".join(lines)


def configuration() -> str:
    """Every file of ``configs/`` with its keys and comments."""
    lines = [
        "# Configuration files",
        "",
        "The files are the registry: `neurotwin list KIND` prints them, keys are constructor arguments, and any value "
        "can be overridden on the command line.",
        "",
    ]
    for kind in KINDS:
        lines += [f"## {kind}", ""]
        for entry in list_configs(kind):
            if entry.source == "neurotwin":
                content = entry.path.read_text(encoding="utf-8").strip()
                lines += [f"### {entry.name}", "", f"{entry.description}", "", "```yaml", content, "```", ""]
    return "\n".join(lines)


def command_line() -> str:
    """Help of every verb."""
    os.environ["COLUMNS"] = "100"
    parser = build_parser()
    lines = ["# Command line", "", "```text", parser.format_help().strip(), "```", ""]
    for action in parser._subparsers._group_actions:
        for name, sub in action.choices.items():
            lines += [f"## {name}", "", "```text", sub.format_help().strip(), "```", ""]
    return "\n".join(lines)


def data_sets() -> str:
    """Where each real data set is published and how it must lie, in the words of the error that asks for it."""
    lines = [
        "# Real public data sets",
        "",
        "Every twin trains on simulated recordings without a file. Real ones lie below `$NEUROTWIN_DATA` (default "
        "`./data`), or wherever `datamodule.root=FOLDER` says. What follows is what neurotwin prints where they are "
        "missing; nothing is downloaded behind your back, because most sets ask you to accept terms first.",
        "",
    ]
    with tempfile.TemporaryDirectory() as empty:
        for entry in list_configs("datamodule"):
            root = load_config(entry.path).get("root")
            if entry.source != "neurotwin" or not root:
                continue
            place = str(root).replace("${data_root}", "data")
            try:
                build_part(compose_part("datamodule", entry.name, [f"root={empty}/{place}"]), "datamodule").setup("fit")
            except MissingDataError as error:
                text = "\n".join(line for line in str(error).splitlines() if not line.startswith("  then:"))
                shown = text.replace(f"{empty}/", "").strip()
            except NeurotwinError as error:
                shown = str(error).replace(f"{empty}/", "")
            lines += [f"## {entry.name}", "", entry.description + ".", "", "```text", shown, "```", ""]
    return "\n".join(lines)
