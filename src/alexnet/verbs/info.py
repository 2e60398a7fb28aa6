"""alexnet info."""

import click

from alexnet.verbs.options import json_option


@click.command()
@click.argument("what", nargs=-1)
@click.option("--compare", "compare", is_flag=True, help="Print where several dialects differ.")
@click.option("--system", "show_system", is_flag=True, help="What this machine is, and what is chosen on it.")
@click.option("--all", "every", is_flag=True, help="Every field of a recipe, every class, what each layer costs.")
@click.option("--verify", is_flag=True, help="Read the whole of a store, or of a run's weights, and compare checksums.")
@click.option("--images", "list_images", is_flag=True, help="List a store's images: split, class, name, path.")
@json_option
def info(
    what: tuple[str, ...], compare: bool, show_system: bool, every: bool, verify: bool, list_images: bool, as_json: bool
) -> None:
    """Tell in one screen what WHAT is, and the command that goes on.

    WHAT is a store, a run, a model or ensemble file, an index, a folder of reproduce, a dialect or a recipe; or another
    kind of file.

    \b
    alexnet info RUN                                   how far it is, how well it does, the next command
    alexnet info small-data --all                      a recipe, with every field explained
    alexnet info source-2012+no-norm                   a dialect, with modifiers: its layers, parameters and memory
    alexnet info --compare paper source-2012 caffe     where dialects differ
    """

    from alexnet.console.terminal import Terminal
    from alexnet.description.describe import describe
    from alexnet.description.dialects import compare as compare_dialects
    from alexnet.description.page import describe_system
    from alexnet.description.stores import list_images as list_images_of

    terminal = Terminal()
    if not what and not show_system:
        raise click.UsageError("Name a store, run, model file, dialect or recipe, or give --system.")
    if len(what) > 1 and not compare:
        raise click.UsageError("Name one thing, or give --compare with several dialects.")
    if list_images and not what:
        raise click.UsageError("Name the store whose images are to be listed.")
    if list_images:
        for row in list_images_of(what[0]):
            if as_json:
                terminal.print_json(row)
            else:
                terminal.print("\t".join(row.values()))
        return
    if show_system:
        report = describe_system()
    elif compare:
        report = compare_dialects(what)
    else:
        report = describe(what[0], verify=verify, every=every)
    if as_json:
        terminal.print_json(report.values)
        return
    for number, part in enumerate(report.parts):
        if number:
            terminal.print("")
        terminal.show(part)
