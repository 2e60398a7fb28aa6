"""What every `alexnet draw` has in common: the options of a figure, where it goes, and writing it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from alexnet.errors import ConfigError
from alexnet.verbs.opening import tell_left_out
from alexnet.verbs.options import PATH, Command, json_option

if TYPE_CHECKING:
    from alexnet.interpretation.drawing import Drawing
    from alexnet.interpretation.panels import Found

FORMATS = ("png", "svg")


class Files(NamedTuple):
    """Where a figure goes."""

    stem: Path
    formats: tuple[str, ...]
    theme: str
    as_json: bool

    @property
    def paths(self) -> list[Path]:
        """Every file of it, the numbers last."""
        return [self.stem.with_name(f"{self.stem.name}.{form}") for form in (*self.formats, "csv")]


def figure_options(command: Command) -> Command:
    """Options that every figure has."""
    for option in reversed(
        (
            click.option("--out", type=PATH, help="File to write, .png or .svg.  [default: the figure's name, .png]"),
            click.option(
                "--format",
                "formats",
                multiple=True,
                type=click.Choice(FORMATS),
                help="Write this format beside or instead of the suffix of --out; repeatable.",
            ),
            click.option("--theme", default="light", type=click.Choice(["light", "dark"]), help="Background."),
            click.option("--overwrite", is_flag=True, help="Replace files that are there."),
            json_option,
        )
    ):
        command = option(command)
    return command


def plan_files(name: str, options: dict[str, Any], inputs: Sequence[Path]) -> Files:
    """Decide where a figure goes, and refuse before the work begins what could not be written after it."""
    out: Path = options["out"] or Path(f"{name}.png")
    suffix = out.suffix.lower().removeprefix(".")
    if options["out"] and not options["formats"] and suffix not in FORMATS:
        raise ConfigError(f"--out {out}: accepted are files that end in .png or .svg; or give --format.")
    formats = tuple(dict.fromkeys(options["formats"])) or (suffix,)
    stem = out.with_suffix("") if suffix in FORMATS else out
    files = Files(stem, formats, options["theme"], options["as_json"])
    if not stem.parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {stem.parent}. Create it, or choose another place.")
    for path in files.paths:
        if path.is_dir():
            raise ConfigError(f"--out {out}: {path} is a folder. Choose another name.")
        if any(path.resolve() == given.resolve() for given in inputs):
            raise ConfigError(f"--out {out}: {path} is one of the inputs. Choose another name.")
        if path.exists() and not options["overwrite"]:
            raise ConfigError(f"--out {out}: {path} exists. Choose another name, or give --overwrite.")
    return files


def write_figure(files: Files, panel: "Callable[[Any], Drawing]", left_out: Sequence[object] = ()) -> None:
    """Draw, write, say what there is, and exit with 1 if images were left out."""
    from alexnet.console.terminal import Terminal
    from alexnet.interpretation.drawing import save_drawing

    terminal = Terminal()
    drawing = panel(files.theme)
    paths = save_drawing(drawing, files.stem, formats=(*files.formats, "csv"))  # type: ignore[arg-type]
    if files.as_json:
        document = {
            "figure": drawing.name,
            "title": drawing.title,
            "caption": drawing.caption,
            "files": [str(path) for path in paths],
            "left_out": [str(reason) for reason in left_out],
        }
        terminal.print_json(document)
    else:
        for path in paths:
            terminal.print(str(path))
        terminal.say(drawing.caption)
    tell_left_out(terminal, left_out)


def write_found(files: Files, found: "Found") -> None:
    """Draw and write what was found, as `write_figure` does."""
    write_figure(files, lambda theme: found.panel(theme=theme), found.left_out)
