"""Options that several verbs share, and the group that verbs are in."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Place = str | os.PathLike[str]
"""A path or an address."""
Command = Callable[..., Any]


class _Place(click.Path):
    """A path; of something at an address, as s3://bucket/store, the path in the cache to which it is brought.

    Args:
        any_folder: See `files.addresses.local`.
    """

    def __init__(self, *, any_folder: bool = False) -> None:
        super().__init__(path_type=Path)
        self._any_folder = any_folder

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from alexnet.files.addresses import local
        from alexnet.files.storage import is_address

        return local(value, any_folder=self._any_folder) if is_address(value) else super().convert(value, param, ctx)


class _Target(click.Path):
    """A folder to make: a path, or an address as it was typed, which the function that makes it takes."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from alexnet.files.storage import is_address

        return value if is_address(value) else super().convert(value, param, ctx)


class _OnDisk(click.Path):
    """A path, and no address: what is written there is written in place.

    Args:
        what: What it is, to complete "… is written on a disk".
    """

    def __init__(self, what: str = "this", **options: Any) -> None:
        super().__init__(path_type=Path, **options)
        self._what = what

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from alexnet.files.storage import is_address

        if is_address(value):
            self.fail(
                f"{value}: {self._what} is written on a disk. Name a path, and copy it with the storage's own program, "
                "as aws s3 cp.",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


PATH, SOURCE, TARGET, DISK = _Place(), _Place(any_folder=True), _Target(), _OnDisk()
CHANGED = _OnDisk("what this command changes")
"""A model or an index that is changed where it is."""
FOLDER = _OnDisk(file_okay=False)


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
        from alexnet.text.wording import nearest

        try:
            return super().resolve_command(context, args)
        except click.UsageError as problem:
            close = nearest(args[0], self.commands)
            if close:
                raise click.UsageError(f"{problem.message} Did you mean {close!r}?", context) from None
            raise


class _NewFile(_OnDisk):
    """A file to write at the end of the work: that its folder exists is checked before the work begins.

    Args:
        folders: Whether it may be a folder, which the verb then judges.
    """

    def __init__(self, *, folders: bool = False) -> None:
        super().__init__()
        self._folders = folders

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(str(super().convert(value, param, ctx)))
        if not path.parent.is_dir():
            self.fail(f"{path}: there is no folder {path.parent}. Create it, or choose another place.", param, ctx)
        if path.is_dir() and not self._folders:
            self.fail(f"{path} is a folder. Name a file.", param, ctx)
        return path


MOST_SHOWN = 40
LARGEST = 10**9
"""What is more than this, and has no nearer bound, is a slip: nobody has so many images, epochs or minutes."""
MOST_THREADS = 1024
"""As `system.MOST_THREADS`, which would bring PyTorch; a test compares them."""


class _Bounded(click.ParamType[Any]):
    """A number that is finite and not absurd, refused in one short sentence whatever was typed."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if len(str(value)) > MOST_SHOWN:
            self.fail(f"{str(value)[:MOST_SHOWN]}… is too long for a number.", param, ctx)
        number = super().convert(value, param, ctx)
        most = getattr(self, "max", None)
        if not number <= (LARGEST if most is None else most):  # also true of NaN
            self.fail(f"{value} is not a number up to {LARGEST:,}.", param, ctx)
        return number


class Whole(_Bounded, click.IntRange):
    """A whole number from `min` to `max`, where they are given."""


class Number(_Bounded, click.FloatRange):
    """A number from `min` to `max`, where they are given; never nan."""


NEW_FILE, NEW_PATH = _NewFile(), _NewFile(folders=True)
SEED = Whole(0, 2**32 - 1)
device_option = click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")
precision_option = click.option(
    "--precision",
    default="auto",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    help="auto takes bfloat16 where the hardware multiplies it natively.",
)
threads_option = click.option(
    "--threads", type=Whole(1, MOST_THREADS), help="Threads to compute with.  [default: every core]"
)


def compute_options(command: Command) -> Command:
    """Where and how a network is run: device, precision and threads."""
    for option in (threads_option, precision_option, device_option):
        command = option(command)
    return command


views_option = click.option(
    "--views",
    default="10",
    type=click.Choice(["1", "9", "10"]),
    help="1: centre; 9: three by three places; 10: corners and centre and their mirror images.",
)
local_batch_option = click.option(
    "--local-batch",
    type=Whole(1),
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
    type=Number(1),
    metavar="SECONDS",
    help="Give up on a process that does not answer for so long.",
)
reject_option = click.option(
    "--reject",
    type=Number(0, 1, min_open=True, max_open=True),
    help='Answer "unknown" where a picture is further from the training images than all but this share of the '
    "validation images; 0.05 is usual.",
)
calibrated_option = click.option(
    "--calibrated", is_flag=True, help="Scale the probabilities with the temperature that alexnet calibrate found."
)
every_option = click.option(
    "--every",
    default=0.5,
    type=Number(0.001),
    metavar="SECONDS",
    help="Of clips: time between the frames that are seen.",
)
cluster_option = click.option(
    "--cluster",
    metavar="ADDRESS",
    help="Share the work among the nodes of a Ray cluster, HOST:PORT or auto; local starts one on this machine.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")


def read_devices(devices: str | None, *, cluster: str | None = None) -> tuple[str, ...]:
    """Names of devices as --devices gives them, which does not go with --cluster."""
    if devices is not None and cluster is not None:
        raise click.UsageError("--devices shares the work on this machine, --cluster on many. Give one of them.")
    names = () if devices is None else tuple(name.strip() for name in devices.split(","))
    if not all(names):
        raise click.UsageError(f"--devices {devices!r}: a name is empty. Write cpu,cpu or cuda:0,cuda:1.")
    return names


def typed_besides(accepted: set[str]) -> list[str]:
    """Return the options that were typed, but for parameters of these names."""
    context = click.get_current_context()
    return [
        option.opts[0]
        for option in context.command.params
        if option.name not in accepted
        and context.get_parameter_source(option.name or "") is click.core.ParameterSource.COMMANDLINE
    ]
