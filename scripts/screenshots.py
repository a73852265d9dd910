"""Have Chromium take the pictures that README.md and docs/page.md show.

    .venv/bin/python scripts/screenshots.py     (or make screenshots)

The runs are those of examples/demo.py and agent.py, recorded for the purpose. Pictures go
to docs/pictures/, with few colours, as they are kept in the repository.
"""

from __future__ import annotations

import html
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops
from playwright.sync_api import sync_playwright

REPOSITORY = Path(__file__).resolve().parent.parent
PICTURES = REPOSITORY / "docs" / "pictures"
SIZE: Any = {"width": 1200, "height": 620}
COLOURS = 64
THEMES: tuple[Any, ...] = ("light", "dark")


def record(folder: Path, path: Path) -> None:
    """Record the runs, with a copy of the examples: tracebacks show where they are."""
    for name in ("docs", "examples", "migrations"):
        source = REPOSITORY / name
        hidden = shutil.ignore_patterns("__pycache__", "build", "pictures", ".*")
        shutil.copytree(source, folder / name, ignore=hidden)
    for example in ("demo.py", "agent.py"):
        subprocess.run(
            [sys.executable, folder / "examples" / example],
            env=os.environ | {"RUNLOG_SQLITE_PATH": str(path)},
            stdout=subprocess.DEVNULL,
            check=True,
        )


@contextmanager
def serving(path: Path) -> Iterator[str]:
    """The address of the page."""
    program = Path(sys.executable).with_name("runlog")
    command = [str(program), "--db", str(path), "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()


def links(address: str, status: str, workflow: str) -> list[str]:
    """The addresses of the runs of a workflow with a status, the newest first."""
    asked = f"{address}?status={status}&workflow={workflow}"
    with urllib.request.urlopen(asked) as answer:  # noqa: S310 - our own server
        text = answer.read().decode()
    found = re.findall(r'class="go" href="\./([^"]+)"', text)
    return [address + html.unescape(one) for one in found]


def views(address: str) -> dict[str, str]:
    """The address of each picture."""
    digest = "repository-digest"
    agent = links(address, "completed", "shop+assistant")[0]
    return {
        "runs": address,
        "failed": links(address, "failed", digest)[0],
        "steps": f"{links(address, 'failed', digest)[0]}&show=picture",
        "retried": links(address, "completed", digest)[1],
        "agent": f"{agent}&node=0",
    }


def save(picture: bytes, path: Path) -> None:
    """Write a picture with few colours, without what is empty below."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    ground = Image.new("RGB", image.size, image.getpixel((1, image.height - 1)))
    _, _, _, last = ImageChops.difference(image, ground).getbbox() or (0, 0, 0, 400)
    image = image.crop((0, 0, image.width, min(image.height, last + 16)))
    # By how far colours are apart, not by how often each is there: signs are small.
    few = image.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def main() -> None:
    """Take the pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="runlog-") as folder:
        path = Path(folder, "runs.db")
        record(Path(folder, "shop"), path)
        with serving(path) as address, sync_playwright() as driver:
            browser = driver.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            for theme in THEMES:
                context = browser.new_context(viewport=SIZE, color_scheme=theme)
                tab = context.new_page()
                for name, place in views(address).items():
                    tab.goto(place)
                    save(tab.screenshot(), PICTURES / f"{name}-{theme}.png")
                context.close()
            browser.close()


if __name__ == "__main__":
    main()
