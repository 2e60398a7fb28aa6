"""How a network is trained: groups of documented fields, and the named recipes.

A recipe is a function without arguments that returns a whole `Recipe`; its docstring says where the numbers come from
and what to expect of it. Every field can be changed from the command line with --set group.field=value.
"""

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from alexnet.errors import RecipeError


class Group(BaseModel):
    """Frozen and validated; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Batches(Group):
    """What the network sees of the images (paper, sections 2 and 4.1)."""

    size: int = Field(128, ge=1)
    """Images per update."""
    random_crops: bool = True
    """Crop at random offsets; otherwise the centre."""
    reflections: bool = True
    """Mirror with probability one half."""
    color_noise: float = Field(0.1, ge=0)
    """Standard deviation of the noise along the RGB principal axes, as a share of their scale; 0 turns it off."""
    color_noise_unit: Literal["standard_deviation", "eigenvalue"] = "standard_deviation"
    """Scale of the axes: their standard deviations (2012 source) or the printed eigenvalues on [0, 1] pixels."""
    divisor: float = Field(1.0, gt=0)
    """Inputs are divided by this after the mean is subtracted; 1 keeps the paper's 0-255 scale."""


class Network(Group):
    """Which network, and its first weights (paper, sections 3 and 5)."""

    dialect: str = "paper"
    """A name of network.spec.DIALECTS."""
    initialization: Literal["dialect", "he"] = "dialect"
    """The dialect's own Gaussians and biases, or He normal with zero biases for small data."""


class Optimization(Group):
    """The update rule of section 5, and when its learning rate changes."""

    learning_rate: float = Field(0.01, ge=0)
    """Rate at the start, or after the warm-up."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Fraction of the previous update that is kept."""
    weight_decay: float = Field(0.0005, ge=0)
    """Pull of each update towards zero, times the rate; on weights, never on biases (2012 source)."""
    schedule: Literal["plateau", "epochs", "cosine"] = "plateau"
    """"plateau": divide when the validation error stops improving (paper); "epochs": divide at `drop_epochs`;
    "cosine": fall smoothly to zero over `total_epochs`."""
    drop_factor: float = Field(10.0, gt=1)
    """The rate is divided by this at every drop."""
    plateau_patience_epochs: int = Field(6, ge=1)
    """Epochs without improvement before a drop."""
    plateau_threshold: float = Field(0.001, ge=0)
    """Fall of the top-1 error that counts as an improvement."""
    plateau_drops: int = Field(3, ge=0)
    """Drops before training ends at the next plateau."""
    drop_epochs: tuple[int, ...] = ()
    """Epochs, counted from 0, at whose start schedule "epochs" divides the rate."""
    total_epochs: int = Field(90, ge=1)
    """Training ends here at the latest."""
    warmup_epochs: float = Field(0.0, ge=0)
    """The rate rises linearly from zero over this many epochs."""

    @model_validator(mode="after")
    def _drops_fit(self) -> "Optimization":
        if self.schedule == "epochs" and not self.drop_epochs:
            raise ValueError("schedule epochs needs drop_epochs")
        if any(epoch >= self.total_epochs for epoch in self.drop_epochs):
            raise ValueError(f"drop_epochs {list(self.drop_epochs)} must lie before total_epochs {self.total_epochs}")
        if list(self.drop_epochs) != sorted(set(self.drop_epochs)):
            raise ValueError(f"drop_epochs {list(self.drop_epochs)} must rise")
        return self


class Evaluation(Group):
    """How the error is measured while training, and at its end."""

    every_epochs: int = Field(1, ge=1)
    """Validate after every so many epochs; plateaus are judged at these."""


class Recipe(Group):
    """Everything that decides the outcome of training, besides the store and the seed."""

    name: str = "custom"
    batches: Batches = Batches()
    network: Network = Network()
    optimization: Optimization = Optimization()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _plateaus_are_seen(self) -> "Recipe":
        if (
            self.optimization.schedule == "plateau"
            and self.optimization.plateau_patience_epochs < self.evaluation.every_epochs
        ):
            raise ValueError("optimization.plateau_patience_epochs is shorter than evaluation.every_epochs")
        return self

    def to_yaml(self) -> str:
        """Return every field as YAML, for the run folder."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def paper() -> Recipe:
    """Sections 3 to 5 as printed, for a million images or so.

    Batch 128, rate 0.01 divided by ten at plateaus of the validation error, at most three times; momentum 0.9, weight
    decay 0.0005, the paper's initial weights. Ninety epochs of ImageNet gave 40.7 % top-1 and 18.2 % top-5 error there
    with ten views. On a few thousand images it often stays at chance: see small_data and docs/results.md.
    """
    return Recipe(name="paper")


def small_data() -> Recipe:
    """For a few thousand images, where the paper's initial weights are brittle: same network, gentler start.

    He initialisation, inputs divided by 60 (about unit variance), batches of 64, and a rate that falls to zero along a
    cosine. The network, crops, reflections, colour noise, dropout, momentum and decay are the paper's.
    docs/results.md has errors, times and seeds.
    """
    return Recipe(
        name="small-data",
        batches=Batches(size=64, divisor=60.0),
        network=Network(initialization="he"),
        optimization=Optimization(schedule="cosine", total_epochs=40, warmup_epochs=1.0),
    )


def demo() -> Recipe:
    """For the scenes that the package draws itself: small_data, made to end within minutes on two cores."""
    base = small_data()
    return base.model_copy(
        update={
            "name": "demo",
            "optimization": base.optimization.model_copy(update={"total_epochs": 8, "warmup_epochs": 0.5}),
        }
    )


RECIPES: dict[str, Callable[[], Recipe]] = {"paper": paper, "small-data": small_data, "demo": demo}
"""Name on the command line -> recipe."""


def find_recipe(name: str, assignments: Iterable[str] = ()) -> Recipe:
    """Return a recipe by name or from a YAML file, with fields changed by "group.field=value" assignments.

    Raises:
        RecipeError: no such recipe or field, or a value that the field does not accept.
    """
    if name in RECIPES:
        recipe = RECIPES[name]()
    elif name.endswith((".yaml", ".yml")):
        recipe = read_recipe(Path(name))
    else:
        raise RecipeError(
            f"unknown recipe {name!r}. Known: {', '.join(RECIPES)}, or the path of a recipe.yaml."
            f"{_nearest(name, RECIPES)}"
        )
    values = recipe.model_dump()
    for assignment in assignments:
        _assign(values, assignment)
    return _validated(values, "--set" if assignments else name)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe that `to_yaml` wrote.

    Raises:
        RecipeError: the file cannot be read or is not a recipe.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise RecipeError(
            f"{path}: cannot be read as a recipe ({problem}). Name a recipe or give a YAML file."
        ) from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: is not a recipe; expected groups {', '.join(Recipe.model_fields)}.")
    return _validated(values, str(path))


def _assign(values: dict[str, Any], assignment: str) -> None:
    path, equals, text = assignment.partition("=")
    group, dot, field = path.strip().partition(".")
    known = [f"{name}.{inner}" for name, fields in values.items() if isinstance(fields, dict) for inner in fields]
    if not equals or not dot:
        raise RecipeError(
            f"--set {assignment}: expected group.field=value, for example optimization.learning_rate=0.005."
        )
    if f"{group}.{field}" not in known:
        raise RecipeError(f"--set {assignment}: unknown field {path.strip()}.{_nearest(path.strip(), known)}")
    try:
        values[group][field] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise RecipeError(f"--set {assignment}: {text!r} is not a YAML value.") from None


def _validated(values: dict[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as problem:
        first = problem.errors()[0]
        field = ".".join(map(str, first["loc"])) or "recipe"
        message = first["msg"].removeprefix("Value error, ")
        raise RecipeError(
            f"{where}: {field} is {first['input']!r}: {message}."
            if first["loc"] and not isinstance(first["input"], dict)
            else f"{where}: {field}: {message}."
        ) from None


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]}?" if close else ""
