"""Options that several verbs share, and the group that verbs are in."""

from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)
FOLDER = click.Path(path_type=Path, file_okay=False)


class InOrder(click.Group):
    """Lists its commands in the order in which they were added, and names the nearest for an unknown one."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of its commands in their order."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the first sentence about each command, folded where click would cut it off."""
        listed = [(name, command.get_short_help_str(limit=10_000)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(listed)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is meant, as click does."""
        from alexnet.wording import nearest

        try:
            return super().resolve_command(context, args)
        except click.UsageError as problem:
            close = nearest(args[0], self.commands)
            if close:
                raise click.UsageError(f"{problem.message} Did you mean {close!r}?", context) from None
            raise


class _NewFile(click.Path):
    """A file to write at the end of the work: that its folder exists is checked before the work begins."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(str(super().convert(value, param, ctx)))
        if not path.parent.is_dir():
            self.fail(f"{path}: there is no folder {path.parent}. Create it, or choose another place.", param, ctx)
        if path.is_dir():
            self.fail(f"{path} is a folder. Name a file.", param, ctx)
        return path


NEW_FILE = _NewFile(path_type=Path)
SEED = click.IntRange(0, 2**32 - 1)
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
precision_option = click.option(
    "--precision",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "float32", "bfloat16"]),
    help="auto takes bfloat16 where the hardware multiplies it natively.",
)
threads_option = click.option(
    "--threads", type=click.IntRange(1), help="Threads to compute with.  [default: every core]"
)
local_batch_option = click.option(
    "--local-batch",
    type=click.IntRange(1),
    metavar="IMAGES",
    help="Images to compute at once; larger batches come in parts.  [default: the whole batch]",
)
devices_option = click.option(
    "--devices", metavar="A,B,…", help="Start a process on each: cuda:0,cuda:1 or cpu,cpu. Or start them by torchrun."
)
mesh_option = click.option(
    "--mesh",
    metavar="data=N,tower=M",
    help="How processes divide the work; dense=N too, for the dense layers.  [default: data alone]",
)
timeout_option = click.option(
    "--timeout",
    "timeout_seconds",
    default=120.0,
    show_default=True,
    type=click.FloatRange(1),
    metavar="SECONDS",
    help="Give up on a process that does not answer for so long.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")


def read_devices(devices: str | None) -> tuple[str, ...]:
    """Names of devices as --devices gives them."""
    names = () if devices is None else tuple(name.strip() for name in devices.split(","))
    if not all(names):
        raise click.UsageError(f"--devices {devices!r}: a name is empty. Write cpu,cpu or cuda:0,cuda:1.")
    return names


def image_files(given: tuple[Path, ...]) -> list[Path]:
    """Files as they are; of folders, every file that is not hidden."""
    from alexnet.errors import SourceError

    files: list[Path] = []
    for path in given:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
            if not inside:
                raise SourceError(f"{path}: is an empty folder. Give image files, or a folder of them.")
            files += inside
        else:
            files.append(path)
    return files
