"""Finds out what is meant: a store, a run, a file, a folder, a dialect or a recipe.

PyTorch is imported for files only: the pages of everything else are read from headers.
"""

from pathlib import Path

from alexnet.data.store.format import PARTIAL_SUFFIX
from alexnet.description.dialects import describe_dialect
from alexnet.description.indexes import describe_index, is_index
from alexnet.description.models import describe_ensemble, describe_model, describe_temporal
from alexnet.description.page import Description, Facts, command, describe_path
from alexnet.description.recipes import describe_recipe
from alexnet.description.reproductions import describe_reproduction, list_experiments
from alexnet.description.runs import describe_run
from alexnet.description.stores import describe_partial, describe_store, is_partial
from alexnet.errors import ConfigError, RecipeError, WeightsError
from alexnet.files.addresses import local
from alexnet.files.kinds import recognize
from alexnet.files.tensors import is_own
from alexnet.network.dialects import DIALECTS, is_dialect
from alexnet.network.model_file import is_temporal
from alexnet.recipes.named import RECIPES, find_recipe, read_recipe
from alexnet.runs.folder import ENVIRONMENT, MODEL
from alexnet.text.wording import counted, nearest

STORE_HEADER = "store.json"


def describe(what: str, *, verify: bool = False, every: bool = False) -> Description:
    """Return what a store, index, run folder, file, dialect or recipe is; paths come before names.

    Args:
        verify: Read the whole of a store or of a run's weights and compare checksums.
        every: Leave nothing out, however long it becomes.
    Raises:
        ConfigError: it is none of these.
        StoreError, SearchError, WeightsError, RunError: it is one, but damaged.
    """
    path = local(what)
    if path.is_dir():
        return _describe_folder(path, verify=verify, every=every)
    partial = path.with_name(path.name + PARTIAL_SUFFIX) if path.name else path
    if not path.exists() and is_partial(partial):
        return describe_partial(partial)
    if path.is_file():
        return _describe_file(path, every=every)
    if path.exists():
        raise ConfigError(f"{what}: is a pipe or a device. Give a file or a folder.")
    if is_dialect(what) and what in RECIPES:
        dialect = describe_dialect(what, every=every, is_alone=False)
        recipe = describe_recipe(what, find_recipe(what), every=every, is_alone=False)
        return Description({"recipe": recipe.values, "dialect": dialect.values}, [*dialect.parts, *recipe.parts])
    if is_dialect(what):
        return describe_dialect(what, every=every)
    if what in RECIPES:
        return describe_recipe(what, find_recipe(what), every=every)
    raise ConfigError(
        f"{what}: there is no such file or folder, and no dialect ({', '.join(DIALECTS)}) or recipe "
        f"({', '.join(RECIPES)}) has this name.{_suggest(what)}"
    )


def _suggest(what: str) -> str:
    """Return a question that names the nearest path or name; nothing where none is near."""
    path = Path(what)
    known = nearest(what, [*DIALECTS, *RECIPES])
    for up, folder in enumerate(path.parents):  # the part of the path that is mistyped may be above its end
        if folder.is_dir():
            wrong = path.parts[len(path.parts) - 1 - up]
            near = nearest(wrong, [each.name for each in folder.iterdir() if not each.name.startswith(".")])
            if near is not None:
                whole = folder.joinpath(near, *path.parts[len(path.parts) - up :])
                known = str(whole if whole.exists() else folder / near)
            break
    return f" Did you mean {known}?" if known else ""


def _describe_folder(path: Path, *, verify: bool, every: bool) -> Description:
    """A run, a store, or a folder that holds some."""
    if (path / ENVIRONMENT).exists():
        return describe_run(path, verify=verify, every=every)
    if is_partial(path):
        return describe_partial(path)
    if is_index(path):
        return describe_index(path, verify=verify, every=every)
    if experiments := list_experiments(path):
        return describe_reproduction(path, experiments)
    if (path / MODEL).is_file():  # a model to give away
        return describe_model(path / MODEL, every=every)
    inside = [] if (path / STORE_HEADER).exists() else sorted(each for each in path.iterdir() if each.is_dir())
    held = [("a run", each) for each in inside if (each / ENVIRONMENT).exists()]
    held += [("a store", each) for each in inside if (each / STORE_HEADER).exists()]
    if not held:
        return describe_store(path, verify=verify, every=every)
    facts = [("what", f"a folder that holds {counted(len(held), 'run or store', 'runs and stores')}")]
    facts += [(kind, command("info", each)) for kind, each in held]
    return describe_path(path, "folder", facts, holds=[str(each) for _, each in held])


def _describe_file(path: Path, *, every: bool) -> Description:
    """A model, an ensemble, a model of clips, a recipe; or another kind of file, and what to do with it.

    Raises:
        WeightsError: it is damaged, or of no kind that is known.
    """
    from alexnet.evaluation.ensemble import is_ensemble

    if is_ensemble(path):
        return describe_ensemble(path, every=every)
    if is_temporal(path):
        return describe_temporal(path, every=every)
    kind = recognize(path)
    if kind is not None and kind.is_damaged and not is_own(path):
        raise WeightsError(f"{path}: is {kind.what}. {kind.advise(path)}")
    if kind is not None and not is_own(path):
        facts = [("what", f"{kind.what}, {counted(path.stat().st_size, 'byte')}"), ("next", kind.advise(path))]
        return describe_path(path, kind.name, facts)
    if kind is None:
        try:
            return describe_recipe(path.stem, read_recipe(path), path=path, every=every)
        except RecipeError:
            if path.suffix in (".yaml", ".yml"):
                raise
        for name, whole in ((ENVIRONMENT, "run"), (STORE_HEADER, "store")):
            if (path.parent / name).exists():
                facts = [("what", f"a file of the {whole} {path.parent}"), ("next", command("info", path.parent))]
                return Description({"kind": "part", "of": str(path.parent)}, [Facts(facts, str(path))])
        if not is_own(path) and path.suffix != ".safetensors":
            raise WeightsError(
                f"{path}: is of no kind that alexnet knows. It tells of stores, runs, model files, ensembles and "
                "recipes, and recognises images, archives and the models of other programs."
            )
    return describe_model(path, every=every)
