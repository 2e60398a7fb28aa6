"""The options of a test of models, and what is refused before hours of work are spent on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alexnet.data.store.format import HEADER_NAME, TRAIN
from alexnet.distribution.world import World
from alexnet.errors import ConfigError
from alexnet.evaluation.ensemble import Ensemble, is_ensemble
from alexnet.evaluation.labeled_images import LabeledImages, list_splits
from alexnet.evaluation.prediction_files import LISTED
from alexnet.files.record import hash_file
from alexnet.network.model_file import find_model
from alexnet.runs.folder import RECIPE
from alexnet.text.commands import command


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of `alexnet evaluate`."""

    views: int = 10
    split: str | None = None
    """Split to test on; see `choose_reported` where it is None."""
    top: int | None = None
    calibrated: bool = False
    """Whether probabilities are scaled with the temperature of each model before anything is measured."""
    average: bool = False
    fit_on: str | None = None
    save_ensemble: Path | None = None
    html: Path | None = None
    """Page to write. It is checked here; the interpretation stage writes it."""
    predictions: Path | None = None
    submission: Path | None = None
    every: float | None = None
    """Seconds between the frames of clips that are tested; None where the images are no clips."""
    device: str = "auto"
    precision: str = "auto"

    def files(self) -> dict[str, Path]:
        """Return the files to write, by option."""
        named = {"--save-ensemble": self.save_ensemble, "--html": self.html, "--predictions": self.predictions,
                 "--submission": self.submission}  # fmt: skip
        return {option: path for option, path in named.items() if path}

    def words(self) -> list[str]:
        """Return the words of the command line that repeat these options."""
        words = ["--views", str(self.views)]
        words += ["--split", self.split] if self.split else []
        words += ["--every", f"{self.every:g}"] if self.every else []
        words += ["--top", str(self.top)] if self.top else []
        words += ["--calibrated"] if self.calibrated else []
        words += ["--fit-weights", self.fit_on] if self.fit_on else ["--average"] if self.average else []
        return words


def refuse_for_sets(options: Options) -> None:
    """Refuse what has no meaning where a picture may have any number of classes."""
    for given, option, why in (
        (options.top, "--top", "asks whether the one class of a picture is among the best"),
        (options.submission, "--submission", "lists the best classes of pictures that have one"),
        (options.fit_on, "--fit-weights", "lowers the top-k error of pictures that have one class; --average goes"),
        (options.calibrated, "--calibrated", "scales probabilities that sum to 1"),
    ):
        if given:
            raise ConfigError(f"{option} {why}; here a picture may have any number of classes. Leave it out.")


def check_world(world: World, models: Ensemble, tested: LabeledImages, options: Options) -> None:
    """Refuse processes that would test other things; a single process has nothing to compare."""
    if world.world_size == 1:
        return
    world.check_same(
        {
            "models": [hash_file(find_model(member.path)) for member in models.members],
            "precision": [str(member.compute.dtype).removeprefix("torch.") for member in models.members],
            "images": tested.fingerprint(),
            "options": options.words(),
        }
    )


def check_combination(paths: Sequence[Path], options: Options, *, in_parts: bool) -> None:
    """Refuse options that do not go together.

    Args:
        in_parts: Whether processes elsewhere compute the images.
    """
    averaging = options.average or options.fit_on is not None
    if averaging and len(paths) < 2:
        raise ConfigError(
            "an average needs two models or more. Name several: "
            f"{command('evaluate', 'A', 'B', 'STORE', average=True)}."
        )
    if options.save_ensemble and not averaging:
        raise ConfigError("--save-ensemble keeps an average. Add --average, or --fit-weights SPLIT.")
    if options.calibrated and averaging:
        raise ConfigError(
            "--calibrated scales with temperatures that files hold, and the average is in none yet. Keep it with "
            "--save-ensemble, give that file to alexnet calibrate, and evaluate it."
        )
    if options.every is not None and in_parts:
        raise ConfigError(
            "--every decodes clips into a folder of one machine. Leave out --cluster, or test a store of their frames."
        )


def check_order(paths: Sequence[Path], images: Path) -> None:
    """Say the right command where a store stands among the models, or a model in the place of the images."""
    stores = [path for path in paths if (path / HEADER_NAME).exists()]
    if stores:
        others = [path for path in (*paths, images) if not (path / HEADER_NAME).exists()] or [Path("MODEL")]
        right = command("evaluate", *others, stores[0])
        raise ConfigError(f"{stores[0]} is a store; models come first, images last: {right}")
    if images.suffix == ".safetensors" or is_ensemble(images) or (images / RECIPE).exists():
        raise ConfigError(
            f"{images} is a model; the last argument is what to test on: {command('evaluate', *paths, images, 'STORE')}"
        )


def check_splits(images: Path, fit_on: str | None, split: str) -> None:
    """Refuse to find weights on the images that are reported."""
    if fit_on == split:
        raise ConfigError(
            f"--fit-weights {fit_on} would find weights on the images that are reported. {_advise_split(images, split)}"
        )


def _advise_split(images: Path, taken: str) -> str:
    """Say which other split could be reported, or how to get one. Models know the training images by heart."""
    others = [name for name in list_splits(images) if name not in (taken, TRAIN)]
    if others:
        return f"Report another split: --split {others[0]}."
    return (
        f"{images} has no other images that models did not learn from. A third split is made by preparing: "
        f"{command('prepare', 'PHOTOS', out='STORE', test_fraction=0.1)}. Or test on a folder that holds the "
        "folders val and test."
    )


def check_files(models: Ensemble, paths: Sequence[Path], options: Options) -> None:
    """Refuse what could not be written, or would destroy a model, before hours of work are spent on it."""
    classes = len(models.class_names)
    if options.top is not None and options.top >= classes:
        raise ConfigError(
            f"--top {options.top}: of {classes} classes the top {options.top} always hold the right one. Accepted are "
            f"1 to {classes - 1}."
        )
    if options.submission and classes < LISTED:
        raise ConfigError(
            f"--submission {options.submission}: a line holds {LISTED} classes; {models.members[0].path} knows "
            f"{classes}. Use --predictions."
        )
    taken = {find_model(member.path).resolve(): "is a model that is tested" for member in models.members}
    taken |= {path.resolve(): "is an ensemble that is tested" for path in paths if is_ensemble(path)}
    for option, path in options.files().items():
        if path.resolve() in taken:
            raise ConfigError(f"{option} {path}: {taken[path.resolve()]}. Choose another place.")
        taken[path.resolve()] = f"is what {option} writes already"


def check_fit(fitting: LabeledImages, tested: LabeledImages, images: Path) -> None:
    """Refuse to find weights on the images that are reported, where a folder has no splits."""
    if fitting.name == tested.name:
        raise ConfigError(
            f"{images} has no folders {fitting.split or 'train'} and {tested.split or 'val'}, so --fit-weights would "
            "find weights on the images that are reported. Put the images into a folder for each split, or prepare a "
            f"store: {command('prepare', 'PHOTOS', out='STORE')}."
        )
