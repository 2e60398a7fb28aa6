"""alexnet serve."""

from pathlib import Path
from typing import Any

import click

from alexnet.verbs.options import NEW_FILE, PATH, Number, Whole, calibrated_option, compute_options

LOOPBACK = ("127.0.0.1", "localhost", "::1")
CORRECTIONS = "corrections.csv"


@click.command()
@click.argument("model", type=PATH)
@click.option("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0 for all networks.")
@click.option("--port", default=8000, type=Whole(0, 65535), help="0 takes one that is free.")
@click.option(
    "--views",
    default="1",
    type=click.Choice(["1", "9", "10"]),
    help="Crops to average; alexnet predict takes 10 unless told otherwise.",
)
@calibrated_option
@click.option("--top", default=5, type=Whole(1), help="Classes in an answer.")
@click.option("--index", "index_path", type=PATH, help="Index of alexnet search: what is alike is shown from it.")
@click.option("--examples", type=PATH, help="Store whose pictures the page offers to try.  [default: that of the run]")
@click.option(
    "--corrections",
    type=NEW_FILE,
    help=f"CSV file for what people correct on the page.  [default: {CORRECTIONS} of a run served to this machine]",
)
@click.option("--api-key", envvar="ALEXNET_API_KEY", show_envvar=True, help="What clients must show.")
@click.option("--root-path", default="", show_default=False, metavar="/PREFIX", help="Where a proxy shows this server.")
@click.option("--max-bytes", default=64 * 2**20, type=Whole(1), help="Largest request.")
@click.option("--max-pixels", default=120_000_000, type=Whole(1, 120_000_000), help="Largest picture.")
@click.option("--max-clip-seconds", default=30.0, type=Number(0.1), metavar="SECONDS", help="Longest clip.")
@click.option("--max-files", default=64, type=Whole(1), help="Pictures in a request.")
@click.option("--queue", default=256, type=Whole(1), help="Pictures that may wait; then 503.")
@click.option(
    "--timeout",
    "timeout_seconds",
    default=30.0,
    type=Number(0.1),
    metavar="SECONDS",
    help="How long a request may take to arrive.",
)
@click.option("--batch", "largest_batch", default=32, type=Whole(1), help="Pictures computed together.")
@click.option("--batch-wait", default=5.0, type=Number(0), help="Milliseconds to wait for the next.")
@compute_options
def serve(
    model: Path,
    host: str,
    port: int,
    views: str,
    calibrated: bool,
    index_path: Path | None,
    examples: Path | None,
    corrections: Path | None,
    batch_wait: float,
    **options: Any,
) -> None:
    """Answer over HTTP what MODEL, a run, a model file or an ensemble file, sees in pictures.

    Open the printed address: drop pictures on the page, and see classes, reasons and what is alike. Programs send
    pictures to /predict; /docs lists what they can ask. Needs the extra web.

    \b
      alexnet serve RUN --index INDEX
      curl --data-binary @picture.jpg http://127.0.0.1:8000/predict
      curl -F file=@a.jpg -F file=@b.jpg 'http://127.0.0.1:8000/predict?views=10'
    """
    from dataclasses import fields

    from alexnet.errors import ConfigError

    try:
        from alexnet.serving.server import Server, open_socket, run_server
    except ModuleNotFoundError as problem:
        if (problem.name or "").startswith("alexnet"):
            raise
        raise ConfigError(
            f"alexnet serve needs packages that are not installed ({problem.name}). Install them: "
            "pip install 'alexnet[web]'."
        ) from None
    from alexnet.data.store.reader import open_store
    from alexnet.functions.opening import open_model
    from alexnet.retrieval.index.reader import open_index
    from alexnet.serving.answers import Answers
    from alexnet.serving.application import Options, Service
    from alexnet.serving.corrections import Corrections
    from alexnet.serving.examples import choose_examples, find_examples
    from alexnet.serving.limits import Limits
    from alexnet.text.wording import say_views

    root_path, api_key = options["root_path"], options["api_key"]
    if root_path and not root_path.startswith("/"):
        raise ConfigError(f"--root-path {root_path}: is a path as browsers see it and begins with /, as /{root_path}.")
    listening = open_socket(host, port)
    index = open_index(index_path) if index_path else None
    terminal, opened = open_model(model, **{name: options.pop(name) for name in ("device", "precision", "threads")})
    answers = Answers(opened, index=index, calibrated=calibrated)
    limits = Limits(**{each.name: options.pop(each.name) for each in fields(Limits) if each.name in options})
    service = Service(answers, Options(views=int(views), batch_wait_seconds=batch_wait / 1000, **options), limits)
    if examples:
        offered = choose_examples(open_store(examples), answers.image_px)
    else:
        offered = find_examples(model if model.is_dir() else model.parent, answers.image_px)
    if corrections is None and model.is_dir() and host in LOOPBACK:
        corrections = model / CORRECTIONS
    server = Server(service, examples=offered, corrections=Corrections(corrections) if corrections else None)

    def tell(most: int) -> None:
        terminal.print(f"Serving {model} at http://{host}:{listening.getsockname()[1]}/ (Ctrl-C ends it)")
        terminal.say(f"Each picture is seen in {say_views(int(views))} (--views {views}).")
        terminal.say(f"At most {most:,} connections at a time, {limits.queue:,} pictures in the queue.")
        if host not in LOOPBACK and not api_key:
            terminal.say("Warning: anyone who reaches this address may ask; there is no key. Set one: --api-key KEY.")

    run_server(server, listening, tell)
    terminal.say("Stopped.")
