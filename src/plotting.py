"""Interactive figures that every twin may use: plotly in one style, whose colours the report turns over for the dark.

A task hands over its figures by :meth:`~.tasks.base.BaseTask.plots`; :func:`save` writes them into the run's
``figures/`` as plotly's JSON, which reports embed and notebooks load. Caption and title travel inside the figure.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

if TYPE_CHECKING:
    from PIL.Image import Image

#: Drawn in these on light paper; the page's script exchanges them for their dark counterparts.
INK, FAINT, GRID = "#1b1d21", "#6c7079", "#e2e4e8"
#: Okabe and Ito's colours, which colour-blind readers can tell apart, a little lighter to stand on both papers.
BLUE, ORANGE, GREEN, VERMILLION, PURPLE = "#2b83ba", "#e69f00", "#009e73", "#d9601a", "#c26a9d"
PALETTE = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, "#56b4e9", "#8c6d31", FAINT)
#: Points of a line beyond which it is thinned: more than a screen shows at full zoom-out, few enough to move fluently.
MAX_POINTS = 40_000
CLEAR = "rgba(0,0,0,0)"
#: How a slider's step changes the figure.
AT_ONCE = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
_FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"


def blank(title: str, caption: str, rows: int = 1, columns: int = 1, height: int = 380, **grid: Any) -> go.Figure:
    """An empty figure in the house style.

    Args:
        title: What it shows, in a few words.
        caption: How to read it, a sentence or two; the report prints it below.
        rows: Rows of panels.
        columns: Columns of panels.
        height: Height, pixels.
        **grid: Further arguments of ``make_subplots``.
    """
    figure = make_subplots(rows=rows, cols=columns, **grid)
    top = 62 if any(grid.get("subplot_titles") or ()) else 36
    axis = {"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": FAINT, "ticks": "outside", "tickcolor": FAINT}
    figure.update_layout(
        template="none",
        meta={"title": title, "caption": caption},
        colorway=PALETTE,
        height=height,
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        font={"family": _FONT, "size": 13, "color": INK},
        margin={"l": 64, "r": 24, "t": top, "b": 48},
        # Above the titles of the panels, where there are any.
        legend={"orientation": "h", "x": 0, "y": 1 + (top - 36) / (height - top - 48), "yanchor": "bottom"},
        hoverlabel={"font": {"family": _FONT}},
        dragmode="zoom",
        uirevision="kept",  # turning the colours over keeps the zoom
    )
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    figure.update_annotations(font={"size": 13, "color": INK})  # titles of panels
    return figure


def trace(values: NDArray[Any], step: float, name: str, start: float = 0.0, **style: Any) -> go.Scattergl:
    """A line over evenly spaced samples, thinned by a whole stride where it has more than :data:`MAX_POINTS`.

    Args:
        values: ``(sample,)``; integers stay integers, others become float32.
        step: Distance of two samples on the x axis.
        name: For the legend.
        start: Position of the first sample.
        **style: ``color``, ``width``, ``dash`` of the line; anything else of ``go.Scattergl``.
    """
    stride = max(1, -(-len(values) // MAX_POINTS))
    line = {key: style.pop(key) for key in ("color", "width", "dash", "shape") if key in style}
    kept = np.ascontiguousarray(np.asarray(values)[::stride])
    kept = kept if kept.dtype.kind in "iu" else kept.astype(np.float32)
    return go.Scattergl(
        x0=start, dx=step * stride, y=kept, name=name, mode="lines", line={"width": 1.2, **line}, **style
    )


def heatmaps(
    title: str,
    caption: str,
    panels: Mapping[str, NDArray[Any]],
    names: Sequence[str] = (),
    groups: Sequence[str] = (),
    limit: float | None = None,
    sequential: Sequence[str] = (),
    height: int = 420,
) -> go.Figure:
    """Square matrices side by side on linked axes: zooming one zooms all.

    Args:
        title: See :func:`blank`.
        caption: See :func:`blank`.
        panels: Title to matrix ``(row, column)``.
        names: Of rows and columns, unique, shown under the pointer.
        groups: Of rows, equal ones side by side: written at the left in the middle of each block.
        limit: Ends of the diverging colour scale; the largest absolute value where it is not given.
        sequential: Titles of panels on a scale from zero instead.
        height: Pixels.
    """
    figure = blank(title, caption, 1, len(panels), height, subplot_titles=list(panels), horizontal_spacing=0.06)
    shared = [values for key, values in panels.items() if key not in sequential]
    limit = limit or float(np.nanmax(np.abs(np.stack(shared)))) or 1.0
    for column, (key, values) in enumerate(panels.items(), 1):
        apart = key in sequential
        domain = figure.layout[f"xaxis{column if column > 1 else ''}"].domain
        figure.add_heatmap(
            z=np.asarray(values, dtype=np.float32),
            x=list(names) or None,
            y=list(names) or None,
            colorscale="Magma" if apart else "RdBu_r",
            zmin=0 if apart else -limit,
            zmax=(float(np.nanmax(values)) or 1.0) if apart else limit,
            # Bars below the panels take no width from them.
            colorbar={
                **{"orientation": "h", "len": domain[1] - domain[0], "x": sum(domain) / 2, "y": -0.05},
                **{"yanchor": "top", "thickness": 8, "outlinewidth": 0, "tickfont": {"size": 11}, "nticks": 5},
            },
            hovertemplate="%{y} – %{x}: %{z:.3f}<extra>" + key + "</extra>",
            row=1,
            col=column,
        )
    figure.update_xaxes(showticklabels=False, ticks="", showgrid=False, constrain="domain")
    figure.update_yaxes(showticklabels=False, ticks="", showgrid=False, constrain="domain", autorange="reversed")
    figure.update_yaxes(scaleanchor="x", row=1, col=1)
    for column in range(2, len(panels) + 1):
        figure.update_xaxes(matches="x", row=1, col=column)
        figure.update_yaxes(matches="y", row=1, col=column)
    if any(groups):
        middle = {group: [k for k, other in enumerate(groups) if other == group] for group in groups}
        ticks = {group: names[places[len(places) // 2]] for group, places in middle.items()}
        figure.update_yaxes(
            showticklabels=True, tickvals=list(ticks.values()), ticktext=list(ticks), tickfont={"size": 11}, col=1
        )
    figure.update_layout(margin={"l": 96 if any(groups) else 12, "r": 12, "t": 36, "b": 48})
    return figure


def slices(
    title: str,
    caption: str,
    image: NDArray[Any],
    truth: NDArray[np.bool_] | None = None,
    predicted: NDArray[np.bool_] | None = None,
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
    max_slices: int = 32,
    margin: int = 4,
) -> go.Figure:
    """A volume in three planes, each with a slider; over it where the two masks agree and where they do not.

    Only slices around the masks are kept, all of them where there is no mask, thinned to ``max_slices`` a plane.
    Slices travel as JPEG, at most :data:`MAX_PIXELS` a side: a volume of 512 x 512 x 120 takes about 1 MB.

    Args:
        title: See :func:`blank`.
        caption: See :func:`blank`.
        image: Intensities, ``(x, y, z)``, drawn from left to right and from bottom to top.
        truth: Annotated mask, ``(x, y, z)``.
        predicted: Mask of the model, ``(x, y, z)``.
        spacing_mm: Size of a voxel.
        max_slices: Slices a plane.
        margin: Slices kept beyond the masks on both sides.
    """
    low, high = np.percentile(image, (1, 99.5))
    grey = (np.clip((image - low) / max(high - low, 1e-9), 0, 1) * 255).astype(np.uint8)
    empty = np.zeros(image.shape, dtype=bool)
    overlay = (empty if truth is None else truth).astype(np.uint8) + 2 * (
        empty if predicted is None else predicted
    ).astype(np.uint8)
    planes = (("sagittal", 0), ("coronal", 1), ("axial", 2))
    x_mm, y_mm, z_mm = (size * step for size, step in zip(image.shape, spacing_mm, strict=True))
    tallest = max(z_mm / y_mm, z_mm / x_mm, y_mm / x_mm)
    height = 150 + round(330 * min(1.1, max(0.5, tallest)))  # a panel is about 330 pixels wide
    figure = blank(title, caption, 1, 3, height, subplot_titles=[name for name, _ in planes], horizontal_spacing=0.03)
    frames, sliders = [], []
    for column, (name, axis) in enumerate(planes, 1):
        kept = _kept(overlay, axis, margin, max_slices)
        sized = np.count_nonzero(overlay, axis=tuple(other for other in range(3) if other != axis))[kept]
        first = int(sized.argmax()) if sized.any() else len(kept) // 2
        drawn = [_slice(np.take(grey, index, axis).T, np.take(overlay, index, axis).T) for index in kept]
        wide, high_mm = (image.shape[other] * spacing_mm[other] for other in range(3) if other != axis)
        pixels = {"dx": wide / drawn[first].width, "dy": high_mm / drawn[first].height}
        look = {"zsmooth": "fast", "hoverinfo": "skip", **pixels}
        figure.add_image(source=_address(drawn[first]), row=1, col=column, **look)
        for index, picture in zip(kept, drawn, strict=True):
            data = [go.Image(source=_address(picture), **look)]
            frames.append(go.Frame(name=f"{name} {index}", data=data, traces=[column - 1]))
        domain = figure.layout[f"xaxis{column if column > 1 else ''}"].domain
        sliders.append(_slider(name, kept, first, domain, spacing_mm[axis]))
    figure.frames = frames
    figure.update_xaxes(visible=False, constrain="domain")
    figure.update_yaxes(visible=False, constrain="domain")
    figure.update_layout(sliders=sliders, margin={"l": 12, "r": 12, "t": 62, "b": 80})
    for code, label in ((3, "both"), (1, "missed"), (2, "only predicted")):
        if np.any(overlay == code):
            marker = {"color": _OVERLAY[code], "symbol": "square", "size": 10}
            figure.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=label)
    return figure


#: Pixels of a side of a slice beyond which it is made smaller by a whole factor.
MAX_PIXELS = 320
#: Colours of the overlay by code: nothing, annotated only, predicted only, both.
_OVERLAY = (CLEAR, BLUE, VERMILLION, GREEN)
_OPACITY = 0.45


def _kept(overlay: NDArray[Any], axis: int, margin: int, limit: int) -> NDArray[np.intp]:
    marked = np.flatnonzero(overlay.any(axis=tuple(other for other in range(3) if other != axis)))
    size = overlay.shape[axis]
    first, last = (max(0, marked[0] - margin), min(size - 1, marked[-1] + margin)) if len(marked) else (0, size - 1)
    return np.unique(np.linspace(first, last, min(limit, last - first + 1)).round().astype(int))


def _slice(grey: NDArray[np.uint8], overlay: NDArray[np.uint8]) -> Image:
    """One slice with its overlay, first row at the bottom."""
    from PIL import Image, ImageColor

    colours = np.array([(0, 0, 0), *(ImageColor.getrgb(colour) for colour in _OVERLAY[1:])], dtype=float)
    share = _OPACITY * (overlay > 0)[..., None]
    mixed = (1 - share) * grey[..., None] + share * colours[overlay]
    factor = -(-max(grey.shape) // MAX_PIXELS)
    return Image.fromarray(mixed[::-1].astype(np.uint8)).reduce(factor)


def _address(picture: Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _slider(name: str, kept: NDArray[np.intp], first: int, domain: Sequence[float], step_mm: float) -> dict[str, Any]:
    steps = [{"label": f"{index * step_mm:.0f}", "args": [[f"{name} {index}"], AT_ONCE]} for index in kept]
    return {
        **{"active": first, "steps": [{"method": "animate", **step} for step in steps]},
        **{"x": domain[0], "len": domain[1] - domain[0], "pad": {"t": 24}},
        **{"currentvalue": {"prefix": f"{name} ", "suffix": " mm", "font": {"size": 12}}},
        **{"ticklen": 0, "font": {"color": CLEAR}, "bgcolor": GRID, "bordercolor": FAINT},
    }


def browsed(figures: Mapping[str, go.Figure], group: str) -> dict[str, go.Figure]:
    """Figures of which the report shows one at a time, with a list to choose from: several exams, or recordings.

    Args:
        figures: In the order of the list; the middle one is shown first.
        group: What they are, for the list's label: ``Exam``.
    """
    for place, figure in enumerate(figures.values()):
        figure.layout.meta = {**figure.layout.meta, "group": group, "place": place}
    return dict(figures)


def save(figures: Mapping[str, go.Figure], folder: Path) -> list[Path]:
    """Write each figure as ``<name>.json`` into ``folder``, made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(figure.to_json(engine="json"), encoding="utf-8")
    return paths
