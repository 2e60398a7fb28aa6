"""What people choose on the page of doubtful labels is saved as a table that prepare reads; a browser runs the page."""

import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from alexnet.data.sources.corrections import apply_corrections
from alexnet.data.sources.source import FolderFiles, LabeledPath, Source
from alexnet.interpretation.page import Doubtful
from alexnet.pages.writing import build_page

CHROMIUM = shutil.which("chromium")
PATHS = ["a.png", 'b,"<b>.png', "c.png", "d.png"]
CHOOSE = """<script>{
URL.createObjectURL = (blob) => { blob.text().then((text) => { document.title = text; }); return "#"; };
const each = [...document.querySelectorAll("fieldset")], name = each[1].querySelector("[list]"), form = document.forms[0];
const type = (text) => { name.value = text; name.dispatchEvent(new Event("input", {bubbles: true})); };
each[0].querySelector("[value=drop]").click();
each[2].querySelector("[value=keep]").click();
type("nobody");
const refused = !form.checkValidity();
type("be,e");
document.body.dataset.told = `${refused} ${form.checkValidity()} ${document.querySelector("output").value}`;
document.querySelector("button").click();
}</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.slow
def test_the_choices_are_counted_checked_and_saved(tmp_path: Path) -> None:
    pictures = [Doubtful(b"", path, "ant", "ant", "ant", 0.5) for path in PATHS]
    text = build_page("suspects.html", kicker="", title="", lead="", cut=0, pictures=pictures,
                      classes=[("ant", "ant"), ("be,e", "bee")], commands=[])  # fmt: skip
    page = tmp_path / "page.html"
    page.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text).replace("</body>", CHOOSE))
    words = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom"]
    shown = subprocess.run([*words, page.as_uri()], capture_output=True, text=True, check=True, timeout=120).stdout
    assert 'data-told="true true keep 1, change 1, drop 1"' in shown
    saved = re.search(r"<title>(.*?)</title>", shown, re.DOTALL)
    assert saved
    (tmp_path / "corrections.csv").write_text(unescape(saved[1]), encoding="utf-8")
    entries = [*(LabeledPath(path, 0) for path in PATHS), LabeledPath("e.png", 1)]
    source = Source(root=tmp_path, kind="folders", files=FolderFiles(tmp_path), class_names=("ant", "be,e"),
                    class_titles=("ant", "bee"), splits={"train": entries})  # fmt: skip
    corrected = apply_corrections(source, tmp_path / "corrections.csv")
    assert corrected.splits["train"] == [(PATHS[1], 1), (PATHS[2], 0), (PATHS[3], 0), ("e.png", 1)]
