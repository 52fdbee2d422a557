"""The leakage audit of a windowed data set: does the test part tell something that the training part already knows?

``neurotwin audit DATAMODULE`` runs it from the command line; :func:`audit` is the same in Python.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from ..config import compose_part
from ..errors import ConfigError
from ..gates import build_part
from .checks import Auditable, Check, Part, Scope, structural_checks
from .probe import Probe, check_probe, run_probe
from .similarity import Similarity, best_partners, check_duplicates, check_partners, measure_similarity

_COLOUR = {"pass": "green", "warn": "yellow", "leak": "bold red", "skip": "dim"}


@dataclass(frozen=True)
class AuditReport:
    """Outcome of an audit. ``print(report)`` gives the table as plain text, ``rich`` prints it in colour.

    Attributes:
        dataset: Class of the datamodule and how it splits.
        folds: Audited folds.
        checks: One entry a check.
        seconds: Wall time.
        similarity: Of the recordings; for the figure.
        probe: What the untrained probe did; for the figure.
        partners: Largest correlation of each tested recording with a training recording; for the figure.
        files: Written files.
    """

    dataset: str
    folds: tuple[int, ...]
    checks: tuple[Check, ...]
    seconds: float
    similarity: Similarity = field(repr=False)
    probe: Probe = field(repr=False)
    partners: np.ndarray = field(repr=False)
    files: tuple[Path, ...] = ()

    @property
    def verdict(self) -> Literal["pass", "leak"]:
        """``leak`` when any check found one."""
        return "leak" if any(check.status == "leak" for check in self.checks) else "pass"

    def __getitem__(self, name: str) -> Check:
        """The check of this name."""
        return next(check for check in self.checks if check.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Plain types only; what ``audit.json`` holds."""
        return {
            "verdict": self.verdict,
            "dataset": self.dataset,
            "folds": list(self.folds),
            "seconds": round(self.seconds, 1),
            "checks": [check.to_dict() for check in self.checks],
            "probe": {
                "unit": self.probe.unit,
                "n": len(self.probe.right),
                "accuracy": self.probe.accuracy,
                "accuracy_without_relatives": self.probe.accuracy_without,
                "leave_one_recording_out": self.probe.leave_one_out,
                "majority": self.probe.majority,
                "n_classes": self.probe.n_classes,
            },
        }

    def __str__(self) -> str:
        buffer = io.StringIO()
        Console(file=buffer, width=110, color_system=None).print(self)
        return buffer.getvalue().rstrip()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(title=f"Leakage audit: {self.dataset}", title_justify="left", show_lines=True)
        for heading in ("check", "status", "finding"):
            table.add_column(heading, no_wrap=heading != "finding")
        for check in self.checks:
            finding = Text(check.finding)
            if check.remedy:
                finding.append(f"\n{check.remedy}", style="italic")
            table.add_row(check.name, Text(check.status, style=_COLOUR[check.status]), finding)
        yield table
        n = {status: sum(check.status == status for check in self.checks) for status in _COLOUR}
        colour = _COLOUR[self.verdict]
        yield Text.assemble(
            ("verdict: ", "bold"),
            (self.verdict, colour),
            f" ({n['leak']} leaks, {n['warn']} warnings, {n['skip']} not checked; {self.seconds:.0f} s)",
        )
        for path in self.files:
            yield Text(str(path))


def audit(
    datamodule: Auditable | str,
    folds: Sequence[int] | None = None,
    output: str | Path | None = None,
    near_duplicate: float = 0.99,
    partner_threshold: float = 0.30,
    max_lag_s: float = 0.115,
    band_hz: tuple[float, float] = (1.0, 40.0),
    subjects_must_differ: bool = True,
    budget: float = 5e11,
    seed: int = 0,
    overrides: Iterable[str] = (),
) -> AuditReport:
    """Audit the split, the windows and the normalisation of a datamodule for leaks from test to training.

    It checks that parts are disjoint and repeatable; that recordings, groups, subjects and samples do not cross; that
    no tested recording has a copy or a simultaneous partner in training; what a probe without any training scores; and
    that changing the tested samples leaves the training windows as they are.

    Simultaneity can only be told from waveforms: recordings locked to a common stimulus correlate without a leak, and
    channels that share little signal are missed. A pass says that these leaks were looked for and not found.

    Args:
        datamodule: Anything with the API of :class:`~neurotwin.leakage.checks.Auditable`, or a datamodule's name.
        folds: Folds to audit; ``None`` for all.
        output: Folder for ``audit.json`` and ``audit.png``; ``None`` writes nothing.
        near_duplicate: Correlation above which two recordings are copies.
        partner_threshold: Lowest correlation that makes recordings partners; raised to the maximum of the null.
        max_lag_s: Largest lag between partners, s (the default is 20 samples of Bonn).
        band_hz: Pass band before correlation.
        subjects_must_differ: ``False`` for patient-specific models: a shared subject is a warning then.
        budget: Multiply-adds for each of correlation, null and probe (the default: 10-20 s each on one core); larger
            data are sampled, and the report says how much was seen.
        seed: Of everything that is drawn.
        overrides: ``key=value`` for a datamodule given by name, such as ``split=recording``.

    Raises:
        ConfigError: The datamodule lacks the API, or a fold does not exist.
    """
    if isinstance(datamodule, str):
        datamodule = cast(Auditable, build_part(compose_part("datamodule", datamodule, overrides), "datamodule"))
    started = time.perf_counter()
    scope = _scope(datamodule, folds)
    recordings = datamodule.recordings
    similarity = measure_similarity(recordings, partner_threshold, max_lag_s, band_hz, budget, seed)
    probe = run_probe(scope, similarity, max_lag_s, band_hz, budget, seed)
    checks = (
        *structural_checks(scope, subjects_must_differ, seed),
        check_duplicates(scope, similarity, near_duplicate, probe.best if probe.unit == "windows" else np.empty(0)),
        check_partners(scope, similarity),
        check_probe(probe),
    )
    split = getattr(datamodule, "split_by", None)
    name = type(datamodule).__name__ + (f", split={split}" if split else "")
    report = AuditReport(
        dataset=f"{name}, {len(recordings)} recordings, {len(scope.columns['recording'])} windows",
        folds=tuple(part.fold for part in scope.parts),
        checks=checks,
        seconds=time.perf_counter() - started,
        similarity=similarity,
        probe=probe,
        partners=best_partners(scope, similarity),
    )
    return report if output is None else _write(report, Path(output))


def _scope(datamodule: Auditable, folds: Sequence[int] | None) -> Scope:
    absent = [
        name for name in ("recordings", "windows", "folds", "split", "signal", "spec") if not hasattr(datamodule, name)
    ]
    if absent:
        raise ConfigError(
            f"{type(datamodule).__name__} cannot be audited: it has no {', '.join(absent)}; "
            "the API that an audit needs is neurotwin.leakage.checks.Auditable (every EEGDataModule has it)"
        )
    chosen = range(datamodule.folds) if folds is None else folds
    for fold in chosen:
        if not 0 <= fold < datamodule.folds:
            raise ConfigError(f"{fold=} is out of range: folds={datamodule.folds}, choose 0 to {datamodule.folds - 1}")
    parts = []
    for fold in chosen:
        rows = {name: np.asarray(value, dtype=np.int64) for name, value in datamodule.split(fold).items()}
        fit = np.concatenate([rows["train"], rows.get("val", rows["train"][:0])])
        parts.append(Part(fold, rows["train"], fit, rows["test"]))
    columns = {
        name: datamodule.windows[name].to_numpy()
        for name in ("recording", "subject", "group", "start_sample", "target")
    }
    return Scope(datamodule, columns, int(datamodule.spec.n_times or 1), parts)


def _write(report: AuditReport, folder: Path) -> AuditReport:
    # Matplotlib takes a second to import; an audit without output does not need it.
    from .figure import draw

    folder.mkdir(parents=True, exist_ok=True)
    data, figure = folder / "audit.json", folder / "audit.png"
    data.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
    draw(report, figure)
    return AuditReport(**{**vars(report), "files": (data, figure)})
