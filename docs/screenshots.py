"""Take the pictures of the gallery: train every ``<paper>/demo`` and what the README shows, photograph their reports.

``make screenshots``, or ``python docs/screenshots.py``: runs that are there are used. Writes ``docs/images``,
``docs/gallery.md`` and ``docs/twins.png``, one figure of each twin for the README.
"""

import io
import re
import shutil
import tempfile
from pathlib import Path

import matplotlib
import neurotwin
from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).resolve().parent
IMAGES = DOCS / "images"
WIDTH = 1100
HEAD = """# Gallery

Written by `make screenshots`: the figures of the page that `neurotwin report --html` makes of every demo
and of two longer runs. All recordings are simulated. In the page they can be zoomed; here they are pictures.
"""
#: Experiment to its title and figure in the README's picture, column by column.
TWINS = (
    (
        ("mallick2024/demo", "Seizures in EEG: found and annotated", "detections"),
        ("acker2024/demo", "Connectivity: its change while listening to a story", "change"),
    ),
    (
        ("kujawa2024/simulated", "A tumour in MRI: label against prediction", "exams"),
        ("burghi2025/gtf", "A circuit of two neurons, running free", "voltage"),
        ("wells2025/demo", "A neuron's ion currents, from its voltage", "currents"),
    ),
)
COLUMN, GAP, LINE = 760, 24, 40


def main() -> None:
    """Train what is missing, photograph, write the gallery."""
    IMAGES.mkdir(exist_ok=True)
    for old in IMAGES.glob("*.png"):
        old.unlink()
    parts, plots = [HEAD], {}
    wanted = {demo: figure for column in TWINS for demo, _, figure in column}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--enable-unsafe-swiftshader"],
        )
        for entry in neurotwin.list_configs():
            if entry.source != "neurotwin" or not (entry.name.endswith("/demo") or entry.name in wanted):
                continue
            done = [run for run in neurotwin.runs(experiment=entry.name) if run.status == "finished"]
            run = done[-1] if done else neurotwin.train(entry.name)
            page_path = neurotwin.report([run], format="html", output=Path(folder) / "report.html")
            parts.append(f"## {entry.name}\n\n{entry.description}.\n")
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": WIDTH, "height": 800}, color_scheme=scheme)
                page.goto(Path(page_path).resolve().as_uri())
                shots = photograph(page, f"{entry.name.replace('/', '-')}-{scheme}")
                if scheme == "light" and entry.name in wanted:
                    plots[entry.name] = photograph_plot(page, run.figure(wanted[entry.name]).layout.meta["title"])
                parts += [
                    f"```{{image}} images/{name}.png\n:alt: {alt}\n:class: only-{scheme}\n```\n" for name, alt in shots
                ]
                page.close()
        browser.close()
    compose(plots, DOCS / "twins.png")
    (DOCS / "gallery.md").write_text("\n".join(parts), encoding="utf-8")


def photograph_plot(page: Page, title: str) -> Image.Image:
    """One figure without its caption, on white."""
    figure = page.locator("figure:visible", has=page.get_by_text(f"{title}.", exact=True))
    page.add_style_tag(content="figure, .plot { background: #ffffff !important; }")
    figure.scroll_into_view_if_needed()
    figure.locator(".main-svg").first.wait_for()
    page.wait_for_timeout(1500)
    return Image.open(io.BytesIO(figure.locator(".plot").screenshot())).convert("RGB")


def compose(plots: dict[str, Image.Image], path: Path) -> None:
    """Two columns of plots below their titles."""
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    font = ImageFont.truetype(str(fonts / "DejaVuSans-Bold.ttf"), 21)
    columns = []
    for column in TWINS:
        parts = [(title, plots[demo]) for demo, title, _ in column if demo in plots]
        parts = [(title, plot.resize((COLUMN, plot.height * COLUMN // plot.width))) for title, plot in parts]
        columns.append(parts)
    height = max(sum(LINE + plot.height + GAP for _, plot in parts) for parts in columns)
    sheet = Image.new("RGB", (len(columns) * (COLUMN + GAP) + GAP, height + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for number, parts in enumerate(columns):
        x, y = GAP + number * (COLUMN + GAP), GAP
        spare = (height - sum(LINE + plot.height + GAP for _, plot in parts)) // max(1, len(parts))
        for title, plot in parts:
            draw.text((x, y), title, font=font, fill="#1b1d21")
            sheet.paste(plot, (x, y + LINE))
            y += LINE + plot.height + GAP + spare
    sheet.save(path, optimize=True)


def photograph(page: Page, stem: str) -> list[tuple[str, str]]:
    """Save each figure; its name and what it shows."""
    shots = []
    for figure in page.locator("figure:visible").all():
        figure.scroll_into_view_if_needed()
        if figure.locator(".plot").count():
            figure.locator(".main-svg").first.wait_for()
        page.wait_for_timeout(1500)
        title = figure.locator("figcaption b").inner_text().rstrip(".")
        name = f"{stem}-{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')}"
        figure.screenshot(path=IMAGES / f"{name}.png")
        shots.append((name, figure.locator("figcaption").inner_text()))
    return shots


if __name__ == "__main__":
    main()
