"""alexnet serve."""

import signal
from pathlib import Path

import click

from alexnet.verbs.options import PATH, Whole, device_option, precision_option, threads_option


@click.command()
@click.argument("model", type=PATH)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all networks.")
@click.option("--port", default=8000, show_default=True, type=Whole(0, 65535), help="0 takes one that is free.")
@click.option(
    "--views",
    default="1",
    show_default=True,
    type=click.Choice(["1", "9", "10"]),
    help="Crops to average; alexnet predict takes 10 unless told otherwise.",
)
@click.option("--top", default=5, show_default=True, type=Whole(1), help="Classes in an answer.")
@device_option
@precision_option
@threads_option
def serve(
    model: Path, host: str, port: int, views: str, top: int, device: str, precision: str, threads: int | None
) -> None:
    """Answer over HTTP what MODEL, a run, a model file or an ensemble file, sees in pictures.

    Open the printed address and drop a picture on the page; or send one to /predict, which answers JSON with the
    classes, their probabilities and the number of views. With --views 10 these are those of alexnet predict.

    \b
      alexnet serve RUN --port 8000
      curl --data-binary @picture.jpg http://127.0.0.1:8000/predict
    """
    from alexnet.console.terminal import Terminal
    from alexnet.evaluation.ensemble import open_model
    from alexnet.serving import open_server
    from alexnet.system import set_threads, tune_allocator
    from alexnet.text.wording import say_views

    terminal = Terminal()
    set_threads(threads)
    tune_allocator()
    server = open_server(open_model(model, device=device, precision=precision), host, port, views=int(views), top=top)
    for number in (signal.SIGINT, signal.SIGTERM):  # set, since a shell starts what it puts behind deaf to Ctrl-C
        signal.signal(number, signal.default_int_handler)
    with server:
        terminal.print(f"Serving {model} at http://{host}:{server.server_address[1]}/ (Ctrl-C ends it)")
        terminal.say(f"Each picture is seen in {say_views(int(views))} (--views {views}).")
        if host not in ("127.0.0.1", "localhost", "::1"):
            terminal.say("Anyone who reaches this address may ask; there is no password.")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            terminal.say("Stopped.")
