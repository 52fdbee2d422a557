"""The command line: verbs and their arguments. What they do is in ``verbs.py``; nothing heavy is imported here."""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from . import completion, verbs
from .errors import NeurotwinError, printable
from .terminal import log_to_terminal

_RUN = "run folder, the end of its name, or an experiment: its newest finished run"
_EPILOG = (
    "What follows an experiment's name is Hydra's override grammar: model.dropout=0.2 +trainer.limit_train_batches=5"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit code: 0 done, 1 our mistake, 2 the user's, 3 a leak found, 130 interrupted."""
    parser = build_parser()
    completion.offer(parser)
    options, rest = parser.parse_known_args(arguments)
    if any(text.startswith("-") or not hasattr(options, "overrides") for text in rest):
        flag = next((text for text in rest if text.startswith("--")), None)
        remedy = f"; settings are written key=value: {flag[2:].partition('=')[0]}=…" if flag else ""
        parser.error(f"unrecognized arguments: {' '.join(rest)}{remedy if hasattr(options, 'overrides') else ''}")
    if rest:  # overrides after a flag: argparse does not mix them with positionals by itself
        options.overrides += rest
    handler = log_to_terminal()
    show_traceback = getattr(options, "traceback", False)
    try:
        return options.verb(options) or 0
    except NeurotwinError as error:
        if show_traceback:
            traceback.print_exc()
        print(f"neurotwin: error: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("neurotwin: interrupted; `neurotwin runs` lists the run, `neurotwin resume RUN` goes on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        if show_traceback:
            traceback.print_exc()
        print(f"neurotwin: {type(error).__name__}: {printable(str(error))}\n(--traceback shows where)", file=sys.stderr)
        return 1
    finally:
        logging.getLogger("neurotwin").removeHandler(handler)


def build_parser() -> argparse.ArgumentParser:
    """Every verb with its arguments."""
    common = argparse.ArgumentParser(add_help=False)
    # No default: a verb's parser would overwrite a flag given before the verb.
    help_text = "show the Python traceback of an error"
    common.add_argument("--traceback", action="store_true", default=argparse.SUPPRESS, help=help_text)
    parser = argparse.ArgumentParser("neurotwin", description="Digital twins of neural systems.", parents=[common])
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.set_defaults(verb=lambda options: verbs.version(options, parser))
    known = parser.add_subparsers(title="verbs", metavar="VERB")

    def verb(name: str, run: Callable[[argparse.Namespace], int | None], text: str) -> argparse.ArgumentParser:
        sub = known.add_parser(name, help=text, description=text, parents=[common], epilog=_EPILOG)
        sub.set_defaults(verb=run)
        return sub

    def overrides(sub: argparse.ArgumentParser, name: str = "experiment") -> None:
        sub.add_argument(name, help="paper/row, as `neurotwin list` prints it" if name == "experiment" else None)
        sub.add_argument("overrides", nargs="*", metavar="key=value")

    sub = verb("list", verbs.list_entries, "List experiments, or the members of a config group")
    sub.add_argument("kind", nargs="?", default="experiment")
    sub.add_argument("--json", action="store_true")
    sub = verb("show", verbs.show, "Print the composed configuration and the file that each value came from")
    overrides(sub)
    sub.add_argument("--json", action="store_true")
    overrides(verb("check", verbs.check, "Pass all gates without training"))
    sub = verb("train", verbs.train, "Train and test an experiment")
    overrides(sub)
    sub.add_argument("--debug", action="store_true", help="two batches of everything, one epoch")
    sub.add_argument("-m", "--multirun", action="store_true", help="every combination of swept values (a=1,2)")
    sub = verb("resume", verbs.resume, "Go on with an interrupted run from its last completed epoch")
    sub.add_argument("run", help=_RUN)
    sub = verb("evaluate", verbs.evaluate, "Score a trained run on a split")
    sub.add_argument("run", help=_RUN)
    sub.add_argument("--split", default="test", help="train, val or test")
    sub = verb("replay", verbs.replay, "Run the step again that had a NaN or infinity, and show where it came from")
    sub.add_argument("run")
    sub = verb("predict", verbs.predict, "Apply a trained run to a file of your own, or to a BIDS data set")
    sub.add_argument("run", help=_RUN)
    sub.add_argument("--input", required=True, type=Path, dest="source", help="file, or root of a BIDS data set")
    sub.add_argument("--output", required=True, type=Path, dest="target", help="folder for the results")
    sub.add_argument("--bids", action="store_true", help="masks and events as a BIDS derivative")
    sub = verb("runs", verbs.runs, "List the runs below the runs folder")
    sub.add_argument("experiment", nargs="?", default="", help="only those whose name begins so")
    sub.add_argument("--dir", type=Path, default=None, help="runs folder (default $NEUROTWIN_RUNS or ./runs)")
    sub.add_argument("--sort", default="age", choices=("age", "experiment", "objective", "seed", "status"))
    sub.add_argument("--json", action="store_true")
    sub.add_argument("--watch", action="store_true", help="show them until Ctrl-C, with epochs and time left at most")
    sub = verb("audit", verbs.audit, "Search a datamodule's split for leaks between training and test")
    overrides(sub, "datamodule")
    sub.add_argument("--output", type=Path, default=Path("audit"), help="folder for audit.json and audit.png")
    sub = verb("reproduce", verbs.reproduce, "Run the rows of a paper and print them beside the published numbers")
    sub.add_argument("paper", nargs="?")
    sub.add_argument("--all", action="store_true", help="every paper")
    sub.add_argument("--row", action="append", default=[], help="only rows that match (glob); repeatable")
    sub.add_argument("--seeds", help="instead of the paper.yaml's: 0,1,2 or 0..4")
    sub.add_argument("--jobs", type=int, default=1, help="processes")
    sub.add_argument("--smoke", action="store_true", help="two batches of one fold of the rows: does it run?")
    sub.add_argument("--update", action="store_true", help="write expected.json and the table in the README")
    sub.add_argument("--any-code", action="store_true", help="reuse finished runs of other code")
    sub.add_argument("--backend", default="process", help="process, slurm, or local (submitit without a cluster)")
    sub = verb("export", verbs.export, "Write a trained network as ONNX or torch.export, checked, with a model card")
    sub.add_argument("run", help=_RUN)
    sub.add_argument("--format", default=None, choices=("onnx", "pt2"), help="default: by the file's name, or onnx")
    sub.add_argument("--output", type=Path, default=None, help="file to write (default <experiment>.onnx)")
    sub = verb("simulate", verbs.simulate, "Simulate one recording with its truth and write it in the field's formats")
    overrides(sub, "simulator")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--out", type=Path, default=None, help="file to write, its name tells the format; without: print")
    sub = verb("report", verbs.report, "Papers and runs side by side: Markdown, CSV, LaTeX or one HTML page")
    sub.add_argument("subjects", nargs="*", metavar="PAPER|EXPERIMENT|RUN", help="without any: all papers")
    sub.add_argument("--format", default="md", choices=("md", "csv", "latex", "html"))
    sub.add_argument("--html", action="store_true", help="the same as --format html")
    sub.add_argument("--output", type=Path, default=None, help="file to write (HTML: report.html)")
    sub.add_argument("--no-draw", action="store_true", help="only the figures that the runs have kept")
    _sweep(verb("sweep", verbs.sweep, "Run a grid or a search, or go on with one"))
    return parser


def _sweep(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("experiment", nargs="?", help="paper/row, as `neurotwin list` prints it")
    text = "k=a,b and 'k=log(1e-4,1e-2)' (uniform, int, logint) are swept; seeds=0..4 folds=all make up one trial"
    sub.add_argument("overrides", nargs="*", metavar="key=value", help=text)
    sub.add_argument("--plan", help="the same as a YAML file, or its name in `neurotwin list sweep`")
    sub.add_argument("--resume", type=Path, metavar="FOLDER", help="go on with a sweep, or help another driver with it")
    sub.add_argument("--trials", type=int, help="how many; of a grid, all")
    sub.add_argument("--sampler", help="grid, random, tpe, cmaes, nsga2 (default: grid, with a range tpe)")
    sub.add_argument("--pruner", help="none, median, asha, hyperband")
    sub.add_argument("--objectives", help="val/auroc:max,cpu_s:min (default: the experiment's)")
    sub.add_argument("--storage", help="Optuna storage URL (default: a journal file in the sweep's folder)")
    sub.add_argument("--sampler-seed", type=int, help="of the sampler (default 0)")
    sub.add_argument("--jobs", type=int, default=1, help="runs at a time")
    sub.add_argument("--backend", default="process", help="process, slurm, or local (submitit without a cluster)")
    text = "of submitit's executor: timeout_min=60, cpus_per_task=4, gpus_per_node=1, slurm_partition=gpu"
    sub.add_argument("--slurm", action="append", default=[], metavar="KEY=VALUE", help=text)
    sub.add_argument("--budget", type=float, metavar="HOURS", help="no further run starts after so many CPU-hours")
    sub.add_argument("--fail-fast", action="store_true", help="stop at the first failed run")
    sub.add_argument("--retry-failed", action="store_true", help="begin failed trials once more")
    sub.add_argument("--any-code", action="store_true", help="reuse finished runs of other code")
    sub.add_argument("--wandb", type=Path, metavar="FILE", help="write a W&B sweep file instead of running")


if __name__ == "__main__":
    sys.exit(main())
