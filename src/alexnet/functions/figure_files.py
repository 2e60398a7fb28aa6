"""Where a figure goes, and writing it there with the numbers behind it."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from alexnet.errors import ConfigError
from alexnet.files.writing import clear_away
from alexnet.functions.opening import Place
from alexnet.interpretation.drawing import Drawing, Format, save_drawing
from alexnet.pages.themes import ThemeName

FORMATS: tuple[Format, ...] = ("png", "svg")


class Drawn(NamedTuple):
    """A figure that was written."""

    figure: str
    """Its name, as "filters"."""
    title: str
    caption: str
    files: list[Path]
    """Pictures, and last the numbers behind them: CSV."""
    left_out: list[str]
    """Why some images are not in it."""


class FigureFiles(NamedTuple):
    """Where a figure goes."""

    stem: Path
    formats: tuple[Format, ...]
    theme: ThemeName

    @property
    def paths(self) -> list[Path]:
        """Every file of it, the numbers last."""
        return [self.stem.with_name(f"{self.stem.name}.{form}") for form in (*self.formats, "csv")]

    def write(self, panel: Callable[..., Drawing], left_out: Iterable[object] = ()) -> Drawn:
        """Draw with panel(theme=...), and write all files of it, or none."""
        drawing = panel(theme=self.theme)
        new = [path for path in self.paths if not path.exists()]
        try:
            paths = save_drawing(drawing, self.stem, formats=(*self.formats, "csv"))
        except BaseException:
            for path in new:
                clear_away(path)
            raise
        return Drawn(drawing.name, drawing.title, drawing.caption, paths, list(map(str, left_out)))


def plan_files(
    name: str,
    out: Place | None,
    formats: Sequence[str],
    theme: ThemeName,
    overwrite: bool,
    inputs: Sequence[Path],
) -> FigureFiles:
    """Decide where a figure goes, and refuse before the work begins what could not be written after it.

    Raises:
        ConfigError: the suffix or a format is not accepted, the folder is missing, or a file is in the way.
    """
    given = Path(f"{name}.png" if out is None else out)
    suffix = given.suffix.lower().removeprefix(".")
    if out is not None and not formats and suffix not in FORMATS:
        raise ConfigError(f"--out {given}: accepted are files that end in .png or .svg; or give --format.")
    if unknown := [form for form in formats if form not in FORMATS]:
        raise ConfigError(f"format {unknown[0]!r}: accepted are {' and '.join(FORMATS)}.")
    chosen: tuple[Any, ...] = tuple(dict.fromkeys(formats)) or (suffix,)
    files = FigureFiles(given.with_suffix("") if suffix in FORMATS else given, chosen, theme)
    folder = files.stem.parent
    if not folder.is_dir():
        raise ConfigError(f"--out {given}: there is no folder {folder}. Create it, or choose another place.")
    for path in files.paths:
        if path.is_dir():
            raise ConfigError(f"--out {given}: {path} is a folder. Choose another name.")
        if any(path.resolve() == each.resolve() for each in inputs):
            raise ConfigError(f"--out {given}: {path} is one of the inputs. Choose another name.")
        if path.exists() and not overwrite:
            raise ConfigError(f"--out {given}: {path} exists. Choose another name, or give --overwrite.")
    return files
