"""Predictions as a BIDS derivative: masks and events under the names and with the side files that BIDS asks for.

Brain Imaging Data Structure, "BIDS Derivatives"; seizures as SzCORE has them (Dan et al. 2024), whose tables are BIDS
events with columns of their own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from . import __version__
from .errors import ConfigError, DataError
from .files import write_text
from .run_folder import Run

VERSION = "1.10.0"
#: End of a predicted file's name to data type, the entities that BIDS wants there, and the end of its BIDS name.
_KINDS = {
    "_mask.nii.gz": ("anat", ("sub", "ses", "acq", "ce", "run"), "label-lesion_desc-neurotwin_mask.nii.gz"),
    "_events.tsv": ("eeg", ("sub", "ses", "task", "acq", "run"), "desc-neurotwin_events.tsv"),
}
#: SzCORE's task where the recording's name says none: long-term monitoring for seizures.
_TASK = "szMonitoring"
_MASK = {"Type": "Lesion", "SpatialReference": "orig", "Description": "on the grid of the image; 1 is tumour"}
_COLUMNS: dict[str, Any] = {
    "onset": {"Description": "Begin of the event from the first sample", "Units": "s"},
    "duration": {"Description": "Length of the event", "Units": "s"},
    "eventType": {"Description": "SzCORE's type of the event: sz for a seizure, bckg where there is none"},
    "confidence": {"Description": "Highest probability of a seizure within the event, 0 to 1"},
    "channels": {"Description": "Channels concerned; n/a: not told apart"},
    "dateTime": {"Description": "Clock time of the first sample, where the recording states it"},
    "recordingDuration": {"Description": "Length of the recording", "Units": "s"},
}
_EVENTS = {"Description": "Seizures found by a detector; columns as SzCORE has them", **_COLUMNS}
_README = """Predictions of neurotwin, a BIDS derivative.

`dataset_description.json` says which trained run made them and by which code. Masks are label-lesion, on the grid of
the image that they were predicted from; seizures are events in the columns of SzCORE. Pictures, probabilities and
reports lie beside them; BIDS has no name for these, so .bidsignore lists them.

For research only. Not a medical device; nothing here must decide about the care of anybody.
"""


def file_derivative(
    files: Sequence[Path], source: Path, target: Path, run: Run, origin: Mapping[str, Sequence[Path]] | None = None
) -> list[Path]:
    """Move predicted files into a BIDS derivative; its description is written once, later predictions join it.

    Subject, session, task, acquisition, contrast and run are taken from names such as ``sub-01_ses-2_T1w.nii.gz``, of
    the file or of the folders above it. A file without a subject becomes one, called like the file. What BIDS has no
    name for (tables of probabilities, pictures, reports) lies beside it and is listed in ``.bidsignore``.

    ``Sources`` of each side file are BIDS URIs; ``DatasetLinks`` says where, relative to ``target``, their data set is.

    Args:
        files: What a task has predicted, in one folder.
        source: What it was predicted from.
        target: Folder of the derivative; made if it is not there.
        run: Whose prediction it is.
        origin: The files that each prediction was made from, by the begin of its name; ``source`` where it says none.

    Returns:
        The files where they are now, and the side files.

    Raises:
        ConfigError: If there is neither a mask nor a table of events among the files.
        DataError: If ``target`` is a BIDS data set of another kind.
    """
    known = [(path, end) for path in files for end in _KINDS if path.name.endswith(end)]
    if not known:
        raise ConfigError(f"{run.path.name} predicts neither masks nor events, which are what BIDS has names for")
    written = _describe(target, run)
    stems = {path.name.removesuffix(end): _KINDS[end] for path, end in known}
    for path in files:
        stem = max((stem for stem in stems if path.name.startswith(f"{stem}")), key=len)
        datatype, wanted, end = stems[stem]
        entities = _entities(stem, source)
        if datatype == "eeg":
            entities.setdefault("task", _TASK)
        folder = target / f"sub-{entities['sub']}"
        folder = (folder / f"ses-{entities['ses']}" if "ses" in entities else folder) / datatype
        folder.mkdir(parents=True, exist_ok=True)
        prefix = "_".join(f"{name}-{entities[name]}" for name in wanted if name in entities)
        rest = path.name.removeprefix(stem)
        place = folder / (f"{prefix}_{end}" if rest in _KINDS else f"{prefix}_desc-neurotwin_{rest.lstrip('_.')}")
        if rest == ".png":
            place = folder / f"{prefix}_desc-neurotwin_figure.png"
        shutil.move(path, place)
        written.append(place)
        if rest in _KINDS:
            side = place.with_name(f"{place.name.partition('.')[0]}.json")
            content: dict[str, Any] = {**(_MASK if datatype == "anat" else _EVENTS), "Sources": []}
            content["Sources"] = [_uri(path, target) for path in (origin or {}).get(stem, [source])]
            write_text(side, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
            written.append(side)
    return written


def _describe(target: Path, run: Run) -> list[Path]:
    """The files of the data set itself, where they are not there yet."""
    target.mkdir(parents=True, exist_ok=True)
    described = target / "dataset_description.json"
    if described.exists():
        try:
            kind = json.loads(described.read_text(encoding="utf-8")).get("DatasetType", "raw")
        except (ValueError, AttributeError) as error:
            raise DataError(f"{described}: is no description of a BIDS data set ({error})") from None
        if kind != "derivative":
            raise DataError(f"{target}: is a BIDS data set of type {kind}; name a folder below derivatives/")
        return []
    git = run.record.get("git") or {}
    commit = f", code {str(git['commit'])[:10]}" if git.get("commit") else ""
    made = {"Name": "neurotwin", "Version": __version__, "Description": f"{run.experiment}, {run.path.name}{commit}"}
    content = {
        "Name": f"neurotwin predictions, {run.experiment}",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [made],
    }
    readme, ignored = target / "README", target / ".bidsignore"
    write_text(described, json.dumps(content, indent=2) + "\n")
    write_text(readme, _README)
    write_text(ignored, "\n".join(("*_probability.csv", "*_figure.png", "*_report.json", "*_report.html", "")))
    return [described, readme, ignored]


def _uri(path: Path, target: Path) -> str:
    """BIDS URI of a source file; its data set is entered under ``DatasetLinks`` of the derivative where it is new."""
    path, described = path.absolute(), target / "dataset_description.json"
    subject = next((p for p in path.parents if re.fullmatch("sub-[A-Za-z0-9]+", p.name)), None)
    root = path.parent if subject is None else subject.parent
    content = json.loads(described.read_text(encoding="utf-8"))
    links: dict[str, str] = content.setdefault("DatasetLinks", {})
    place = quote(Path(os.path.relpath(root, target)).as_posix())
    name = next((name for name, known in links.items() if known == place), f"source{len(links) + 1}")
    if name not in links:
        links[name] = place
        write_text(described, json.dumps(content, indent=2) + "\n")
    return f"bids:{name}:{quote(path.relative_to(root).as_posix())}"


def _entities(stem: str, source: Path) -> dict[str, str]:
    """BIDS entities of a file's name, else of the path that it came from."""
    pattern = r"(?:^|(?<=[_/]))(sub|ses|task|acq|ce|run)-([A-Za-z0-9]+)"
    found = dict(re.findall(pattern, source.absolute().as_posix().partition(".")[0])) | dict(re.findall(pattern, stem))
    plain = "".join(re.findall("[A-Za-z0-9]+", stem))
    return {**found, "sub": found.get("sub") or plain or "unnamed"}
