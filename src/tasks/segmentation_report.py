"""A segmented exam as numbers and as one HTML page."""

from __future__ import annotations

import base64
import io
import json
import math
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import label

from ..contracts import KOOS, Volume
from ..metrics.schwannoma_measures import farthest_mm
from .segmentation_figures import PREDICTED, close_up, radiological

#: Data address, what it shows, and a caption.
Picture = tuple[str, str, str]

NOTICE = "For research only. Not a medical device; it must not decide about the care of anybody."
#: Largest over smallest spacing above which the volume of a small tumour depends on where the slices fell.
_ANISOTROPY = 3.0
#: A tumour nearer to the middle of the image than this has no sure side, mm.
_MIDDLE_MM = 5.0
#: The canal's fundus is some 36 mm from the mid-plane (`simulators.skull_base`); heads and estimated planes vary.
_FUNDUS_MM = 45.0

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'">
<title>{{ name }}</title>
<style>
body { font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #1b1d21; }
body { max-width: 60rem; margin: 0 auto; padding: 1rem; }
.notice { border: 1px solid #b0480e; color: #b0480e; padding: .4rem .8rem; border-radius: .4rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem 1.5rem .3rem 0; }
th, td { border-bottom: 1px solid #dfe2e7; font-weight: 400; }
table { border-collapse: collapse; }
th { color: #5d616a; }
figure { margin: 1.5rem 0; }
img { max-width: 100%; height: auto; }
</style>
</head>
<body>
<h1>{{ name }}</h1>
<p class="notice">{{ notice }}</p>
<table>{% for key, value in rows %}<tr><th scope="row">{{ key }}</th><td>{{ value }}</td></tr>{% endfor %}</table>
<h2>Checks</h2>
{% if flags %}<ul>{% for flag in flags %}<li>{{ flag }}</li>{% endfor %}</ul>
{% else %}<p>Nothing to remark.</p>{% endif %}
{% for address, alt, caption in pictures %}
<figure><img src="{{ address }}" alt="{{ alt }}"><figcaption>{{ caption }}</figcaption></figure>
{% endfor %}
</body>
</html>
"""


def measure(mask: NDArray[np.bool_], image: Volume) -> dict[str, Any]:
    """Geometry of a mask, in the image's grid.

    The diameter is the largest distance of two voxel centres of the largest component, in any direction. The box has
    first and last voxel along each axis of the file.

    Args:
        mask: Tumour, ``(i, j, k)``.
        image: What it lies on.

    Returns:
        ``volume_ml``, ``diameter_mm``, ``components``, ``box_voxels``; None where there is no tumour.
    """
    found: dict[str, Any] = {"volume_ml": int(mask.sum()) * image.voxel_ml}
    parts, count = label(mask, np.ones((3, 3, 3)))
    if not count:
        return {**found, "diameter_mm": None, "box_voxels": None, "components": 0}
    voxels = np.argwhere(mask)
    largest = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
    return {
        **found,
        "diameter_mm": farthest_mm(np.argwhere(largest) @ image.affine[:3, :3].T),
        "components": int(count),
        "box_voxels": [voxels.min(0).tolist(), voxels.max(0).tolist()],
    }


def remarks(mask: NDArray[np.bool_], image: Volume, found: dict[str, Any], calibrated: bool) -> list[str]:
    """What a reader must know before using the numbers.

    Args:
        mask: Tumour, ``(i, j, k)``.
        image: What it lies on.
        found: From :func:`measure` and :func:`~.segmentation_rows.clinical`.
        calibrated: Whether the volume has a calibrated interval.
    """
    flags = []
    if not mask.any():
        flags.append("no tumour found")
    if mask.any() and found["koos_probability"] is None:
        flags.append("Koos grade not judged: too few of the run's training exams have one")
    if not calibrated:
        flags.append("interval not calibrated: the run had too few validation exams for its coverage")
    if mask.any() and any(mask.take(end, axis).any() for axis in range(3) for end in (0, -1)):
        flags.append("touches the border of the image: volume and diameter may be too small")
    if max(image.spacing_mm) > _ANISOTROPY * min(image.spacing_mm):
        spacing = " x ".join(f"{s:.2f}" for s in image.spacing_mm)
        flags.append(f"anisotropic spacing ({spacing} mm): the diameter across slices is coarse")
    if found["components"] > 1:
        flags.append(f"{found['components']} components: diameters, parts and grade of the largest, volume of all")
    if found["side"] and abs(found["from_middle_mm"]) < _MIDDLE_MM:
        flags.append("side unsure: the tumour is near the plane of symmetry of the head")
    if found["side"] and abs(found["from_middle_mm"]) > _FUNDUS_MM:
        flags.append(
            f"centre {abs(found['from_middle_mm']):.0f} mm from the plane of symmetry: further out than an internal "
            "auditory canal reaches, look whether this is a tumour at all"
        )
    return flags


def write_report(
    name: str,
    kind: str,
    image: Volume,
    mask: NDArray[np.bool_],
    interval_ml: tuple[float, float] | None,
    coverage: float,
    modalities: dict[str, bool],
    clinical: dict[str, Any],
    target: Path,
) -> list[Path]:
    """Write ``NAME_report.json`` and ``NAME_report.html``.

    Args:
        name: Of the exam.
        kind: Modality of ``image``.
        image: What the mask lies on.
        mask: Tumour, ``(i, j, k)``.
        interval_ml: Of the volume; None where it is not calibrated.
        coverage: Of the interval.
        modalities: Each input of the model and whether the exam has it.
        clinical: From :func:`~.segmentation_rows.clinical`.
        target: Folder; made if it is not there.
    """
    target.mkdir(parents=True, exist_ok=True)
    found = measure(mask, image) | _judged(clinical)
    flags = remarks(mask, image, found, interval_ml is not None)
    facts = {
        "exam": name,
        "notice": NOTICE,
        **found,
        "volume_interval_ml": None if interval_ml is None else list(interval_ml),
        "coverage": coverage,
        "grid_of": kind,
        "spacing_mm": list(image.spacing_mm),
        "modalities_used": [kind for kind, there in modalities.items() if there],
        "modalities_missing": [kind for kind, there in modalities.items() if not there],
        "flags": flags,
    }
    table, text = (target / f"{name}_report.{end}" for end in ("json", "html"))
    table.write_text(json.dumps(facts, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    text.write_text(page(name, _rows(facts), flags, _pictures(image, mask)), encoding="utf-8")
    return [table, text]


def page(title: str, rows: list[tuple[str, str]], flags: list[str], pictures: list[Picture]) -> str:
    """One HTML page without outside links.

    Args:
        title: Of the page.
        rows: Name and value of each line of the table.
        flags: What a reader must know.
        pictures: From :func:`address`, with what they show in short and in a sentence.
    """
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(_PAGE)
    return template.render(name=title, notice=NOTICE, rows=rows, flags=flags, pictures=pictures)


def address(figure: Figure) -> str:
    """A figure as a data address that an HTML page can hold."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, bbox_inches="tight")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _judged(clinical: dict[str, Any]) -> dict[str, Any]:
    """The clinical numbers as the report has them."""
    chances = clinical["koos_probability"]
    known = all(math.isfinite(p) for p in chances)
    offset = clinical["from_middle_mm"]
    return {
        **clinical,
        "side": None if offset is None else "right" if offset > 0 else "left",
        "koos_probability": dict(zip(map(str, KOOS), chances, strict=True)) if known else None,
        "koos": 1 + chances.index(max(chances)) if known else None,
    }


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    interval, box = facts["volume_interval_ml"], facts["box_voxels"]
    between = f"{interval[0]:.3f} to {interval[1]:.3f} ml" if interval else "not calibrated"
    rows = [("Volume", f"{facts['volume_ml']:.3f} ml"), (f"{100 * facts['coverage']:g} % interval", between)]
    if facts["components"]:
        outer = facts["extrameatal_diameter_mm"]
        rows += [
            (
                "Largest diameter",
                f"{facts['diameter_mm']:.1f} mm; in an axial slice {facts['axial_diameter_mm']:.1f} mm",
            ),
            ("Outside the canal", f"{facts['extrameatal_ml']:.3f} ml, axial diameter {outer:.1f} mm"),
            ("Inside the canal", f"{facts['intrameatal_ml']:.3f} ml"),
            ("Koos grade", _grade(facts)),
            ("Side", f"{facts['side']}, {abs(facts['from_middle_mm']):.0f} mm from the plane of symmetry"),
            ("Bounding box", f"voxels {box[0]} to {box[1]}"),
        ]
    missing = ", ".join(facts["modalities_missing"])
    used = ", ".join(facts["modalities_used"]) + (f" (missing: {missing})" if missing else "")
    spacing = " x ".join(f"{s:.2f}" for s in facts["spacing_mm"])
    return [
        *rows,
        ("Components", str(facts["components"])),
        ("Modalities", used),
        ("Grid", f"{facts['grid_of']}, {spacing} mm"),
    ]


def _grade(facts: dict[str, Any]) -> str:
    if facts["koos"] is None:
        return "not judged"
    chances = ", ".join(f"{grade}: {p:.2f}" for grade, p in facts["koos_probability"].items())
    return f"{facts['koos']} ({KOOS[facts['koos']]}); probabilities {chances}"


def _pictures(image: Volume, mask: NDArray[np.bool_]) -> list[Picture]:
    """Three planes: whole slice and close-up, the patient's right on the left."""
    data, spacing = radiological(image.data, image.affine)
    found = radiological(mask.astype(np.uint8), image.affine)[0] > 0
    pictures: list[Picture] = []
    planes = {"Axial": (2, "RLPA"), "Coronal": (1, "RLIS"), "Sagittal": (0, "PAIS")}
    for plane, (axis, ends) in planes.items():
        across = tuple(other for other in range(3) if other != axis)
        place = int(found.sum(axis=across).argmax()) if found.any() else data.shape[axis] // 2
        here = tuple(place if other == axis else slice(None) for other in range(3))
        grey, inside = data[here], found[here]
        step = [spacing[other] for other in across]
        low, high = (float(v) for v in np.percentile(grey, (1, 99.7)))
        figure = Figure(figsize=(8.4, 4.2), layout="constrained")
        whole = (slice(None), slice(None))
        for axes, part in zip(figure.subplots(1, 2), (whole, close_up(inside, step)), strict=True):
            extent = [
                limit * size
                for cut, size, count in zip(part, step, grey.shape, strict=True)
                for limit in cut.indices(count)[:2]
            ]
            axes.imshow(
                grey[part].T, origin="lower", cmap="gray", vmin=low, vmax=max(high, low + 1e-6), extent=tuple(extent)
            )
            if inside[part].any() and min(inside[part].shape) > 1:
                centres = [(np.arange(n)[cut] + 0.5) * s for n, cut, s in zip(grey.shape, part, step, strict=True)]
                axes.contour(*centres, inside[part].T, [0.5], colors=PREDICTED, linewidths=1.2)
            for end, x, y in zip(ends, (0.03, 0.97, 0.5, 0.5), (0.5, 0.5, 0.04, 0.96), strict=True):
                axes.text(x, y, end, color="white", ha="center", va="center", transform=axes.transAxes)
            axes.set_axis_off()
        caption = (
            f"{plane}: the slice with most tumour, or the middle one, and a close-up. Orange: the mask. Letters: the "
            "patient's left, right, anterior, posterior, superior, inferior."
        )
        pictures.append((address(figure), f"{plane} slice with the outline of the mask", caption))
    return pictures
