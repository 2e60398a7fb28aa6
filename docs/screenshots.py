"""Photographs the page of alexnet serve in its states, into docs/images: make screenshots, or screenshots.py DEMO.

DEMO is the folder of alexnet demo. Needs the extras web and browser, and chromium.
"""

import io
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
LARGEST_BYTES = 150_000
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
LOOKS = {
    "light": {"viewport": {"width": 1200, "height": 860}},
    "dark": {"viewport": {"width": 1200, "height": 860}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}},
}


@contextmanager
def serve(run: Path, index: Path) -> Iterator[str]:
    """The address of a page on a run."""
    command = [sys.executable, "-m", "alexnet", "serve", str(run), "--index", str(index), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        found = re.search(r"http://\S+", process.stdout.readline())
        try:
            yield found[0] if found else sys.exit("the server does not start")
        finally:
            process.terminate()


def reach_answer(page: Page, pictures: list[Path]) -> None:
    """One picture, with everything about it."""
    page.set_input_files(".target input", str(pictures[0]))
    page.wait_for_selector(".alike")
    page.wait_for_selector(".answer .waiting", state="detached")


def reach_table(page: Page, pictures: list[Path]) -> None:
    """Several pictures, one of which is none."""
    page.set_input_files(".target input", [*map(str, pictures), __file__])
    page.wait_for_selector(".list")
    page.wait_for_selector(".alike")


def reach_layers(page: Page, pictures: list[Path]) -> None:
    """The maps of a layer in both towers."""
    reach_answer(page, pictures)
    page.select_option("#layer", "conv5.relu")
    page.wait_for_selector(".plates img")
    page.locator(".plates").scroll_into_view_if_needed()


def reach_problem(page: Page, pictures: list[Path]) -> None:
    """A file that is no picture."""
    page.set_input_files(".target input", __file__)
    page.wait_for_selector(".problem")


STATES: dict[str, Callable[[Page, list[Path]], None]] = {
    "empty": lambda page, pictures: None,
    "answer": reach_answer,
    "table": reach_table,
    "layers": reach_layers,
    "problem": reach_problem,
}


def photograph(demo: Path) -> list[Path]:
    """Write a picture of each state in each look, and return them."""
    run, index = demo / "run", demo / "index"
    if not index.exists():
        command = ["search", "index", str(run), str(demo / "store"), "--split", "train", "--out", str(index)]
        subprocess.run([sys.executable, "-m", "alexnet", *command], check=True)
    classes = sorted((demo / "pictures" / "val").iterdir())
    pictures = [sorted(folder.iterdir())[2] for folder in classes[1::2]]
    written = []
    with serve(run, index) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        for look, options in LOOKS.items():
            for state, reach in STATES.items():
                page = browser.new_context(**options).new_page()  # type: ignore[arg-type]
                page.goto(address)
                page.wait_for_selector("#examples img")
                reach(page, pictures)
                page.wait_for_timeout(500)
                target = IMAGES / f"serve-{state}-{look}.webp"
                save(page.screenshot(full_page=state == "answer"), target)
                page.close()
                written.append(target)
        browser.close()
    return written


def save(screenshot: bytes, path: Path) -> None:
    """Write a PNG as WebP."""
    with Image.open(io.BytesIO(screenshot)) as opened:
        opened.convert("RGB").save(path, quality=82, method=6)
    if path.stat().st_size > LARGEST_BYTES:
        sys.exit(f"{path}: {path.stat().st_size:,} bytes; at most {LARGEST_BYTES:,} are wanted.")


if __name__ == "__main__":
    for path in photograph(Path(sys.argv[1] if len(sys.argv) > 1 else "demo")):
        print(f"{path}: {path.stat().st_size:,} bytes")
