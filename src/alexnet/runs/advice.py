"""What a user is told before a training begins."""

from collections.abc import Callable

from alexnet.data.store.reader import Store
from alexnet.network.rows import Spec
from alexnet.recipes.named import Recipe
from alexnet.runs.requirements import count_classes
from alexnet.text.wording import counted, say_unequal


def advise(store: Store, recipe: Recipe, spec: Spec, notice: Callable[[str], None]) -> None:
    """Say what keeps a training from learning as much as it could."""
    read_px, images, size = spec.input_px, len(store["train"]), store.size
    warmup, epochs = recipe.optimization.warmup_epochs, recipe.optimization.total_epochs
    if size >= 2 * read_px:
        notice(
            f"The network reads {read_px} px of images of {size} px: never a whole picture. To have it see more of "
            f"them, prepare a store with a --size nearer to {read_px}."
        )
    if recipe.batches.size > images:
        notice(
            f"The store has {counted(images, 'training image')}, a batch {recipe.batches.size:,}: one update an epoch. "
            "For more of them, give a smaller batch: --set batches.size=8"
        )
    if warmup >= epochs:
        notice(
            f"The rate rises from 0 during all of this training (warmup_epochs {warmup:g}, total_epochs {epochs}): "
            "little is learned. Train longer, or give --set optimization.warmup_epochs=0."
        )
    unequal = say_unequal(count_classes(store).tolist(), store.class_titles, "training images")
    if unequal and store.has_sets:
        notice(f"{unequal} The mean average precision counts every class alike; look at each in the report.")
    elif unequal and recipe.batches.balance == recipe.optimization.class_weights == "none":
        notice(
            f"{unequal} Large classes are learned first. Look at the balanced error of evaluate, which counts every "
            "class alike; to have small classes seen more often: --set batches.balance=square-root"
        )
