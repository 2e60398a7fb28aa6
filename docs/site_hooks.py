"""What the site does with the documents beyond mkdocs.yml.

Documents that it does not name are put into the navigation, so that a new one is found. Links that leave docs/ work
where files are listed; in the site they become the name of the file.
"""

import re
from pathlib import Path
from typing import Any

GROUP = "More"


def on_config(config: Any) -> Any:
    """Add the Markdown files of docs/ that no entry of the navigation names, in the order of their names."""
    named = set(_pages(config["nav"]))
    docs = Path(config["docs_dir"])
    found = sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))
    more = [path for path in found if path not in named]
    if more:
        config["nav"].append({GROUP: more})
    return config


def on_page_markdown(markdown: str, page: Any, **others: Any) -> str:
    """Replace links that leave docs/ by their text and the path in the project."""
    above = "../" * (page.file.src_uri.count("/") + 1)
    return re.sub(rf"\[([^\]]*)\]\({re.escape(above)}([^)#\s]+)[^)]*\)", r"\1 (`\2`)", markdown)


def _pages(entry: Any) -> list[str]:
    """Every page that an entry of the navigation names."""
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [page for part in parts for page in _pages(part)]
