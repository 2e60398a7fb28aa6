"""The command `alexnet`: its verbs, in the order in which data flows.

Nothing heavy is imported at the top, so that --help answers at once; each verb of alexnet.verbs imports what it needs.
"""

import io
import os
import signal
import sys

import click

from alexnet.errors import AlexNetError
from alexnet.startup import collect_seldom, wait_briefly
from alexnet.text.names import escape_controls
from alexnet.verbs.bench import bench
from alexnet.verbs.calibrate import calibrate
from alexnet.verbs.demo import demo
from alexnet.verbs.draw import draw
from alexnet.verbs.evaluate import evaluate
from alexnet.verbs.export import export
from alexnet.verbs.features import features
from alexnet.verbs.info import info
from alexnet.verbs.options import InOrder
from alexnet.verbs.predict import predict
from alexnet.verbs.prepare import prepare
from alexnet.verbs.report import report
from alexnet.verbs.reproduce import reproduce
from alexnet.verbs.search import search
from alexnet.verbs.serve import serve
from alexnet.verbs.train import train
from alexnet.version import __version__

CONTINUING = ("prepare", "train", "report", "reproduce", "search index", "demo")
"""Commands that go on where they were interrupted; the others leave nothing half-done."""


@click.group(
    cls=InOrder,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True},
)
@click.version_option(__version__, prog_name="alexnet")
def cli() -> None:
    """Labelled images in; a trained, tested, explainable AlexNet classifier out.

    \b
    A first classifier from folders of photographs (PHOTOS/train/<class>/…, PHOTOS/val/<class>/…):
      alexnet prepare PHOTOS --out STORE
      alexnet train STORE --out RUN
      alexnet evaluate RUN STORE --views 10
      alexnet predict RUN picture.jpg

    To see it all work on pictures that the program draws itself: alexnet demo
    """


for _verb in (
    prepare,
    train,
    calibrate,
    evaluate,
    predict,
    serve,
    features,
    search,
    draw,
    report,
    reproduce,
    export,
    info,
    bench,
    demo,
):
    cli.add_command(_verb)


def _told_elsewhere(problem: AlexNetError) -> bool:
    """Whether another process tells the user: the one that started this one, or another of the same training."""
    if not {"RANK", "WORLD_SIZE"} <= os.environ.keys():  # a launcher sets both
        return False
    from alexnet.distribution.launch import STARTED, record_failure
    from alexnet.distribution.processes import LaunchEnvironment

    launched = LaunchEnvironment.read()
    if launched is None or launched.world_size < 2:
        return False
    if STARTED in os.environ:
        record_failure(problem)
        return True
    return launched.rank > 0 if problem.told_elsewhere is None else problem.told_elsewhere


def _record_code(end: SystemExit) -> None:
    """Let the process that started this one, if one did, end with the same code."""
    if end.code and "RANK" in os.environ:
        from alexnet.distribution import launch

        if launch.STARTED in os.environ:
            launch.record_failure(end)


class _Screen(io.StringIO):
    """A text that click takes for a terminal, since elsewhere it drops what looks like a colour."""

    def isatty(self) -> bool:
        return True


def _show(problem: click.ClickException) -> None:
    """Show a misuse as click does, with names of files escaped, since they must not steer a terminal."""
    shown = _Screen()
    problem.show(shown)
    if isinstance(problem, click.NoSuchOption):
        for word in sys.argv[1:]:
            if word.startswith("-") and os.path.exists(word):
                shown.write(f"If the file is meant, write ./{word}\n")
    click.echo(escape_controls(shown.getvalue()), err=True, nl=False)


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 misuse, 130 interrupted."""
    from click.exceptions import Abort

    collect_seldom()
    wait_briefly()
    try:
        os.getcwd()
    except FileNotFoundError:  # PyTorch would end the process with a message of its own
        click.echo("Failed: the current folder does not exist any more. Change to one that does, with cd.", err=True)
        sys.exit(1)
    signal.signal(signal.SIGTERM, lambda number, frame: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        cli(standalone_mode=False)
    except SystemExit as end:
        _record_code(end)
        raise
    except click.ClickException as problem:
        _show(problem)
        sys.exit(problem.exit_code)
    except AlexNetError as problem:
        from alexnet.console.terminal import Terminal

        if not _told_elsewhere(problem):
            Terminal().show_error(type(problem).__name__, str(problem))
        sys.exit(problem.exit_code)
    except (KeyboardInterrupt, Abort):
        words = " ".join(sys.argv[1:])
        goes_on = "goes on from what was saved, or " if words.startswith(CONTINUING) else ""
        click.echo(f"Interrupted. The same command {goes_on}begins again.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as problem:  # a folder that is missing, not writable or full: what the user can mend
        from alexnet.console.terminal import Terminal

        place = f"{problem.filename}: " if problem.filename else ""
        advice = "Check that its folder exists, is writable and has room; the same command can be given again."
        Terminal().show_error("Failed", f"{place}{problem.strerror or problem}. {advice}")
        sys.exit(1)
