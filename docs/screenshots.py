"""Take the pictures of the gallery: train every ``<paper>/demo``, report on it, photograph each figure of the page.

``make screenshots``, or ``python docs/screenshots.py``: runs that are there are used. Writes ``docs/images`` and
``docs/gallery.md``.
"""

import re
import shutil
import tempfile
from pathlib import Path

import neurotwin
from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).resolve().parent
IMAGES = DOCS / "images"
WIDTH = 1100
HEAD = """# Gallery

Written by `make screenshots`: the figures of the page that `neurotwin report --html` makes of every demo. All
recordings are simulated. In the page they can be zoomed; here they are pictures.
"""
PICTURE = """```{{image}} images/{name}.png
:alt: {alt}
:class: only-{scheme}
```
"""


def main() -> None:
    """Train what is missing, photograph, write the gallery."""
    IMAGES.mkdir(exist_ok=True)
    for old in IMAGES.glob("*.png"):
        old.unlink()
    parts = [HEAD]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--enable-unsafe-swiftshader"],
        )
        for entry in neurotwin.list_configs():
            if not entry.name.endswith("/demo") or entry.source != "neurotwin":
                continue
            done = [run for run in neurotwin.runs(experiment=entry.name) if run.status == "finished"]
            run = done[-1] if done else neurotwin.train(entry.name)
            page_path = neurotwin.report([run], format="html", output=Path(folder) / "report.html")
            parts.append(f"## {entry.name}\n\n{entry.description}.\n")
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": WIDTH, "height": 800}, color_scheme=scheme)
                page.goto(Path(page_path).resolve().as_uri())
                shots = photograph(page, f"{entry.name.replace('/', '-')}-{scheme}")
                parts += [
                    f"```{{image}} images/{name}.png\n:alt: {alt}\n:class: only-{scheme}\n```\n" for name, alt in shots
                ]
                page.close()
        browser.close()
    (DOCS / "gallery.md").write_text("\n".join(parts), encoding="utf-8")


def photograph(page: Page, stem: str) -> list[tuple[str, str]]:
    """Save each figure; its name and what it shows."""
    shots = []
    for figure in page.locator("figure").all():
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
