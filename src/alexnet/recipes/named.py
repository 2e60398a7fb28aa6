"""How a network is trained: the named recipes.

A recipe is a function without arguments that returns a whole `Recipe`; its docstring says where the numbers come from
and what to expect of it. The fields are in `recipes.fields`.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alexnet.errors import ConfigError, RecipeError
from alexnet.files.writing import read_text
from alexnet.recipes.fields import (
    AS_START,
    LARGEST,
    Batches,
    Evaluation,
    Group,
    Network,
    Optimization,
    RateChange,
    Recipe,
)
from alexnet.recipes.text import parse_yaml, quote_briefly
from alexnet.text.wording import counted, cut, nearest

__all__ = [
    "RECIPES",
    "Batches",
    "Evaluation",
    "Group",
    "Network",
    "Optimization",
    "RateChange",
    "Recipe",
    "find_recipe",
    "read_recipe",
]


def paper() -> Recipe:
    """Sections 3 to 5 as printed, for a million images or so.

    Batch 128, rate 0.01 divided by ten at plateaus of the validation error, at most three times; momentum 0.9, weight
    decay 0.0005, the paper's initial weights. Ninety epochs of ImageNet gave 40.7 % top-1 and 18.2 % top-5 error there
    with ten views. On a few thousand images it often stays at chance: see small-data and docs/results/runs.md.
    """
    return Recipe(name="paper")


def small_data() -> Recipe:
    """For a few thousand images, where the paper's initial weights are brittle: same network, gentler start.

    He initialisation, inputs divided by 60 (about unit variance), batches of 64, and a rate that falls to zero along a
    cosine. The network, crops, reflections, colour noise, dropout, momentum and decay are the paper's.
    docs/results/runs.md has errors, times and seeds.
    """
    return Recipe(
        name="small-data",
        batches=Batches(size=64, divisor=60.0),
        network=Network(initialization="he"),
        optimization=Optimization(schedule="cosine", total_epochs=40, warmup_epochs=1.0),
    )


def demo() -> Recipe:
    """For the 2,000 scenes that the package draws itself: small-data in batches of 32, over within minutes.

    About four minutes on two fast cores; a held-out error of 4.0 to 6.5 % against 90 % for guessing and 79 % for a
    linear classifier on the pixels.
    """
    base = small_data()
    return base.model_copy(
        update={
            "name": "demo",
            "batches": base.batches.model_copy(update={"size": 32}),
            "optimization": base.optimization.model_copy(update={"total_epochs": 7, "warmup_epochs": 0.5}),
        }
    )


def modern() -> Recipe:
    """The paper's network, trained as one would today. Not the paper.

    He initialisation, inputs divided by 60, batches of 64, one epoch of warm-up and a rate that falls along a cosine,
    as small-data, but from twice its rate. Crops are of 35 to 100 % of the image at any place, brought to the network's
    size, and colour noise is four times the paper's. Dropout begins after a quarter of the epochs, so that the start is
    fast; weights are averaged over the last three epochs. Chosen on images set aside from Imagenette's training images:
    docs/results/runs.md has what was tried, and errors on the validation images, which were looked at twice.
    """
    base = small_data()
    views = {"scaled_crops": (0.35, 1.0), "color_noise": 0.4}
    course = {"learning_rate": 0.02, "dropout_from_epoch": 10, "average_epochs": 3.0}
    return base.model_copy(
        update={
            "name": "modern",
            "batches": base.batches.model_copy(update=views),
            "optimization": base.optimization.model_copy(update=course),
        }
    )


def fine_tune() -> Recipe:
    """From a trained model (--from) to other classes, of which a hundred images each can be enough.

    The network and the scale of its inputs are the model's. Layers that come from it have a tenth of the rates, as in
    the fine-tuned networks of the 2012 source (1e-3 beside 1e-2 for a new last layer), conv1 a hundredth, and is frozen
    for the last third. Ten times these rates, those of training from nothing, destroy what was learned.
    """
    base = small_data()
    return base.model_copy(
        update={
            "name": "fine-tune",
            "network": base.network.model_copy(update={"dialect": AS_START}),
            "optimization": base.optimization.model_copy(
                update={
                    "total_epochs": 15,
                    "kept_rate_factor": 0.1,
                    "rate_factors": {"conv1": 0.01},
                    "rate_changes": (RateChange(epoch=10, layer="conv1", weights=0, biases=0),),
                }
            ),
        }
    )


def source_2012() -> Recipe:
    """The run that the paper's single-network ImageNet numbers come from: config 145 with its recorded schedule.

    Weights at 0.01, divided by ten after 25, 51 and 79 epochs; biases at 0.02 throughout, never decayed; conv1 slowed
    to 1e-5 after 67 epochs, when colour noise and its division by 1.1 end, and frozen after 72; the end after 91. Crops
    and reflections are shared by 32 images in a row, and every crop loses the central part of the mean image. Recorded
    on ILSVRC-2012 with ten views: 40.66 % top-1 and 18.21 % top-5 error. The drops were made by hand, looking at the
    validation error; another data set wants drop_epochs of its own. Not run here on ImageNet.
    """
    return Recipe(
        name="source-2012",
        batches=Batches(color_noise_epochs=67, color_noise_rescales=True, mean="central", images_per_crop=32),
        network=Network(dialect="source-2012"),
        optimization=Optimization(
            schedule="epochs",
            drop_epochs=(25, 51, 79),
            bias_learning_rate=0.02,
            bias_schedule="constant",
            rate_changes=(
                RateChange(epoch=67, layer="conv1", weights=1e-5),
                RateChange(epoch=72, layer="conv1", weights=0, biases=0),
            ),
            total_epochs=91,
        ),
    )


def caffe() -> Recipe:
    """Caffe's solver for bvlc_alexnet: batches of 256, rate 0.01 divided by ten every 100,000 updates.

    Biases have twice the rate of the weights and are not decayed; no colour noise. Caffe stops after 450,000 updates,
    which are 89.9 epochs of ILSVRC-2012; here training ends with epoch 90. Its readme reports 57.1 % top-1 accuracy for
    the centre crop after 360,000. At a rate of 0 weights coast on, as they do there.
    """
    return Recipe(
        name="caffe",
        batches=Batches(size=256, color_noise=0),
        network=Network(dialect="caffe"),
        optimization=Optimization(
            schedule="steps",
            drop_steps=(100_000, 200_000, 300_000, 400_000),
            bias_learning_rate=0.02,
            at_rate_zero="coast",
            total_epochs=90,
        ),
    )


def cifar_80sec() -> Recipe:
    """cuda-convnet's 80-second network on CIFAR-10 (store of 32 px): 26 % error, whole images, no augmentation.

    Rates divided by ten after 8 epochs; the end after 10 is that of Caffe's copy of it.
    """
    return _cifar("cifar-80sec", crops=False, decays={"fc64": 0.03, "fc10": 0.03}, drops=(8,), end=10)


def cifar_19pct() -> Recipe:
    """cuda-convnet's 19 % network on CIFAR-10 (store of 32 px), whole images; the schedule is that of cifar-18pct."""
    return _cifar("cifar-19pct", crops=False, decays={"fc10": 3.0}, drops=(120, 130), end=140)


def cifar_18pct() -> Recipe:
    """cuda-convnet's 18 % network on CIFAR-10 (store of 32 px), whole images.

    Rates divided by ten after 120 and 130 epochs; the end after 140 is that of Caffe's copy of it.
    """
    return _cifar("cifar-18pct", crops=False, decays={"fc10": 1.0}, drops=(120, 130), end=140)


def cifar_13pct() -> Recipe:
    """cuda-convnet's 13 % network on CIFAR-10 (store of 32 px), crops of 24 px and reflections.

    The epochs of its drops are not recorded in the source, only that they end at 1e-5; those of cifar-11pct are used.
    """
    decays = {"conv1": 0.0, "conv2": 0.0}
    return _cifar("cifar-13pct", crops=True, decays=decays, drops=(500, 510), end=520)


def cifar_11pct() -> Recipe:
    """cuda-convnet's 11 % network on CIFAR-10 (store of 32 px), crops of 24 px and reflections.

    About 500 epochs, then ten at a tenth of the rates and ten at a hundredth. The source trained the first 350 without
    the last of the five training files, to judge the plateau on it; here all are used from the start.
    """
    decays = {"conv1": 0.0, "conv2": 0.0, "fc10": 0.01}
    return _cifar("cifar-11pct", crops=True, decays=decays, drops=(500, 510), end=520)


def _cifar(name: str, *, crops: bool, decays: dict[str, float], drops: tuple[int, ...], end: int) -> Recipe:
    """What the CIFAR runs share: batches of 128, rates 0.001 and 0.002, both divided, decay 0.004 unless said."""
    return Recipe(
        name=name,
        batches=Batches(random_crops=crops, reflections=crops, color_noise=0, mean="central"),
        network=Network(dialect=name),
        optimization=Optimization(
            learning_rate=0.001,
            bias_learning_rate=0.002,
            weight_decay=0.004,
            weight_decays=decays,
            schedule="epochs",
            drop_epochs=drops,
            total_epochs=end,
        ),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "paper": paper,
    "small-data": small_data,
    "modern": modern,
    "fine-tune": fine_tune,
    "demo": demo,
    "source-2012": source_2012,
    "caffe": caffe,
    "cifar-80sec": cifar_80sec,
    "cifar-19pct": cifar_19pct,
    "cifar-18pct": cifar_18pct,
    "cifar-13pct": cifar_13pct,
    "cifar-11pct": cifar_11pct,
}
"""Name on the command line -> recipe."""


def scale_epochs(recipe: Recipe, epochs: int) -> list[str]:
    """Return the assignments that end a recipe after so many epochs, fewer or more than its own.

    What happens at fixed times moves in proportion: drops of the rate, changes of the rates of layers, the ends of
    colour noise and of mixing, the start of dropout. Where no drop is left between the first and the last epoch, the
    rate stays as it is. Warm-up, the patience of plateaus and the reach of averages keep their length.

    Raises:
        ConfigError: it is no number of epochs.
    """
    epochs = check_epochs(epochs)
    optimization = recipe.optimization

    def move(time: int) -> int:
        return round(time * epochs / optimization.total_epochs)

    assignments = [f"optimization.total_epochs={epochs}"]
    if optimization.schedule == "epochs":
        drops = sorted({min(move(drop), epochs - 1) for drop in optimization.drop_epochs} - {0})
        assignments.append(f"optimization.drop_epochs={drops}")
        if not drops:
            assignments.append("optimization.schedule=constant")
    if optimization.schedule == "steps":
        steps = sorted({max(1, move(step)) for step in optimization.drop_steps})
        assignments.append(f"optimization.drop_steps={steps}")
    if optimization.rate_changes:
        changes = [
            {**change.model_dump(exclude_none=True), "epoch": move(change.epoch)}
            for change in optimization.rate_changes
        ]
        assignments.append(f"optimization.rate_changes={json.dumps(changes)}")
    if optimization.dropout_from_epoch:
        assignments.append(f"optimization.dropout_from_epoch={move(optimization.dropout_from_epoch)}")
    for field in ("color_noise_epochs", "mix_epochs"):
        if (end := getattr(recipe.batches, field)) is not None:
            assignments.append(f"batches.{field}={move(end)}")
    return assignments


def check_epochs(epochs: int) -> int:
    """Return a number of epochs.

    Raises:
        ConfigError: it is not whole, or below 1.
    """
    if isinstance(epochs, bool) or not isinstance(epochs, Integral) or not 1 <= epochs <= LARGEST:
        raise ConfigError(f"epochs is {quote_briefly(epochs)}; accepted is a whole number from 1 to {LARGEST:,}.")
    return int(epochs)


def find_recipe(name: str, assignments: Iterable[str] = ()) -> Recipe:
    """Return a recipe by name or from a YAML file, with fields changed by "group.field=value" assignments.

    Raises:
        RecipeError: no such recipe or field, or a value that the field does not accept.
    """
    if not isinstance(name, str):
        raise RecipeError(
            f"recipe is {quote_briefly(name)}; accepted is one of {', '.join(RECIPES)}, or the path of a recipe.yaml."
        )
    if name in RECIPES:
        recipe = RECIPES[name]()
    elif name.endswith((".yaml", ".yml")):
        recipe = read_recipe(Path(name))
    else:
        raise RecipeError(
            f"unknown recipe {quote_briefly(name)}. Known: {', '.join(RECIPES)}, or the path of a recipe.yaml."
            f"{_nearest(name, RECIPES)}"
        )
    return change_recipe(recipe, assignments)


def change_recipe(recipe: Recipe, assignments: Iterable[str]) -> Recipe:
    """Return a recipe with fields changed by "group.field=value" assignments.

    Raises:
        RecipeError: no such field, or a value that the field does not accept.
    """
    values = recipe.model_dump()
    for assignment in assignments:
        _assign(values, assignment)
    return _validated(values, "--set")


def check_batch(recipe: Recipe, assignments: Iterable[str], num_images: int) -> None:
    """Refuse a batch that was asked for and is larger than the images to train on.

    That of a named recipe is no request: with fewer images, each batch holds them all.

    Raises:
        RecipeError: it is larger.
    """
    size = recipe.batches.size
    if size > num_images and any(each.partition("=")[0].strip() == "batches.size" for each in assignments):
        raise RecipeError(
            f"--set batches.size={size}: there are {counted(num_images, 'training image')}. Give {num_images} or less."
        )


def read_recipe(path: Path) -> Recipe:
    """Read a recipe that `to_yaml` wrote.

    Raises:
        RecipeError: the file cannot be read or is not a recipe.
    """
    try:
        values = parse_yaml(read_text(path))
    except (OSError, ValueError) as problem:
        reason = "it is not UTF-8" if isinstance(problem, UnicodeDecodeError) else problem
        raise RecipeError(
            f"{path}: cannot be read as a recipe ({reason}). Name a recipe or give a YAML file."
        ) from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: is not a recipe; expected groups {', '.join(Recipe.model_fields)}.")
    return _validated(values, str(path))


def _assign(values: dict[str, Any], assignment: str) -> None:
    path, equals, text = assignment.partition("=")
    path, assignment = cut(path.strip()), cut(assignment)
    group, dot, field = path.partition(".")
    known = [f"{name}.{inner}" for name, fields in values.items() if isinstance(fields, dict) for inner in fields]
    if not equals or not dot:
        raise RecipeError(
            f"--set {assignment}: expected group.field=value, for example optimization.learning_rate=0.005."
            f"{_nearest_field(path, known)}"
        )
    if f"{group}.{field}" not in known:
        raise RecipeError(f"--set {assignment}: unknown field {path}.{_nearest_field(path, known)}")
    try:
        values[group][field] = parse_yaml(text)
    except ValueError as problem:
        raise RecipeError(f"--set {path}: {quote_briefly(text)} cannot be read as a YAML value ({problem}).") from None


def _validated(values: dict[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as problem:
        first = problem.errors()[0]
        # Of a union pydantic also names the member that was tried, as "constrained-float" or "tuple[...]".
        places = [str(part) for part in first["loc"] if not set("-[") & set(str(part))]
        field = cut(".".join(places) or "recipe")
        message = cut(first["msg"].removeprefix("Value error, "), 200)
        raise RecipeError(
            f"{where}: {field} is {quote_briefly(first['input'])}: {message}."
            if first["loc"] and not isinstance(first["input"], dict)
            else f"{where}: {field}: {message}."
        ) from None


def _nearest_field(path: str, known: Sequence[str]) -> str:
    """A field given without its group is found by its name alone."""
    same = [field for field in known if field.partition(".")[2] == path.rpartition(".")[2]]
    return f" Did you mean {' or '.join(same)}?" if same else _nearest(path, known)


def _nearest(name: str, known: Iterable[str]) -> str:
    close = nearest(name, known)
    return f" Did you mean {close}?" if close else ""
