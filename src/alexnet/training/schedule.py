"""The learning rate over time (paper, section 5)."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from alexnet.recipes.fields import Optimization, Stop
from alexnet.text.wording import counted

AVERAGED_AT_LEAST = 64
"""An average over more updates than this leaves some out, and is made of at least so many."""


@dataclass(slots=True)
class Schedule:
    """Where the learning rate stands. `state` and `restore` carry it through a checkpoint.

    The paper's heuristic: divide the rate when the validation error stops improving, three times, then stop.
    """

    optimization: Optimization
    drops: int = 0
    """Divisions so far, by the plateau rule."""
    best_error: float = math.inf
    """Lowest top-1 validation error that counted as an improvement."""
    best_epoch: int = -1
    """Epoch in which it was measured; after a drop, the epoch of the drop."""
    stop: Stop = field(default_factory=Stop)
    best_metric: float = math.inf
    """Lowest value so far of the metric by which epochs are compared."""
    best_metric_epoch: int = -1
    """Epoch in which it was measured."""
    ending: str | None = None
    """Why the training is over before its last epoch; None while it goes on."""
    num_batches: int = 1
    """Updates in an epoch; what schedule "steps" counts in."""
    scale: float = 1.0
    """Factor of the rates, see `Recipe.rate_scale`."""
    train_error_called: str = "top-1 error"
    """What people call the error that `observe_training` takes."""
    error_called: str = "error"
    metric_called: str | None = None
    """What people call the error that `observe` takes and `stop` compares; None for `stop.metric` itself."""

    def rate(self, progress_epochs: float) -> float:
        """Return the learning rate for an update at this point, in epochs since the start."""
        optimization = self.optimization
        base = optimization.learning_rate * self.scale
        if progress_epochs < optimization.warmup_epochs:
            return base * progress_epochs / optimization.warmup_epochs
        if optimization.schedule == "cosine":
            length = optimization.total_epochs - optimization.warmup_epochs
            return base * 0.5 * (1 + math.cos(math.pi * (progress_epochs - optimization.warmup_epochs) / length))
        drops = self.drops
        if optimization.schedule == "epochs":
            drops = sum(progress_epochs >= epoch for epoch in optimization.drop_epochs)
        if optimization.schedule == "steps":
            drops = sum(round(progress_epochs * self.num_batches) >= step for step in optimization.drop_steps)
        return base / optimization.drop_factor**drops

    def rates(self, progress_epochs: float, names: Iterable[str]) -> dict[str, float]:
        """Return the learning rate of each parameter for an update at this point, in epochs since the start.

        Args:
            names: Such as "layers.conv1.weight" and "layers.conv1.bias".
        """
        optimization = self.optimization
        of_weights = self.rate(progress_epochs)
        of_biases = of_weights
        if optimization.bias_learning_rate is not None and optimization.bias_schedule == "constant":
            of_biases = optimization.bias_learning_rate * self.scale
        elif optimization.bias_learning_rate is not None and optimization.learning_rate:
            of_biases = of_weights * (optimization.bias_learning_rate / optimization.learning_rate)
        result = {}
        for name in names:
            layer, is_bias = name.split(".")[-2], name.endswith(".bias")
            rate = (of_biases if is_bias else of_weights) * optimization.rate_factors.get(layer, 1.0)
            for change in optimization.rate_changes:
                new = change.biases if is_bias else change.weights
                if change.layer == layer and progress_epochs >= change.epoch and new is not None:
                    rate = new
            result[name] = rate
        return result

    def average_share(self, progress_epochs: float) -> float:
        """Return the share in their average of the weights after the update at this point, see `average_epochs`.

        An average over many updates takes in only every so many of them, and the share of the others is 0: averaging
        adds a third to the memory that an update moves, and with batches of 32 added a twentieth to the time.
        """
        updates = round(progress_epochs * self.num_batches) + 1
        longest = self.optimization.total_epochs / 10  # a tenth of the updates so far, at the end
        reach = min(self.optimization.average_epochs, longest) * self.num_batches
        every = max(1, int(reach) // AVERAGED_AT_LEAST)
        return 0.0 if updates % every else every / max(every, min(reach, updates / 10))

    def observe_training(self, error: float) -> None:
        """Take the training error of an epoch, which may end the training."""
        limit = self.optimization.stop_train_error
        if limit and error <= limit:
            self.ending = (
                f"its training {self.train_error_called} of {error:.2%} is no more than stop_train_error, {limit:.2%}"
            )

    def observe(self, epoch: int, error: float) -> str | None:
        """Take the validation error measured after an epoch; return a sentence if the rule lowered the rate."""
        optimization = self.optimization
        if optimization.schedule != "plateau":
            return None
        if error < self.best_error - optimization.plateau_threshold:
            self.best_error, self.best_epoch = error, epoch
            return None
        if epoch - self.best_epoch < optimization.plateau_patience_epochs:
            return None
        waited = f"no improvement on {self.best_error:.2%} {self.error_called} for {epoch - self.best_epoch} epochs"
        if self.drops == optimization.plateau_drops:
            self.ending = f"{waited} after {counted(self.drops, 'drop')} of the learning rate"
            return None
        self.drops += 1
        self.best_epoch = epoch
        count = f"{self.drops} of {optimization.plateau_drops}"
        return f"{waited}: learning rate divided by {optimization.drop_factor:g} ({count})"

    def observe_best(self, epoch: int, value: float) -> bool:
        """Take the metric of `stop` after an epoch; return whether it is the best so far."""
        if value < self.best_metric:
            self.best_metric, self.best_metric_epoch = value, epoch
            return True
        waited, patience = epoch - self.best_metric_epoch, self.stop.patience_epochs
        if patience is not None and waited >= patience:
            best = (
                f"{self.metric_called or self.stop.metric} {self.best_metric:.4g} in epoch {self.best_metric_epoch + 1}"
            )
            self.ending = f"no improvement on the best {best} for {counted(waited, 'epoch')}"
        return False

    def ended(self, epoch: int) -> str | None:
        """Return why training is over before this epoch begins; None if it is not."""
        if self.ending is None and epoch >= self.optimization.total_epochs:
            return f"{counted(self.optimization.total_epochs, 'epoch')}, as the recipe says"
        return self.ending

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, as JSON values."""
        values = asdict(self)
        for name in ("optimization", "stop", "num_batches", "scale"):
            del values[name]
        for name in ("train_error_called", "error_called", "metric_called"):
            del values[name]
        return {name: None if value == math.inf else value for name, value in values.items()}

    def restore(self, values: dict[str, Any]) -> None:
        """Take back what `state` returned."""
        self.drops = int(values["drops"])
        for name in ("best_error", "best_metric"):
            value = values.get(name)
            setattr(self, name, math.inf if value is None else float(value))
        self.best_epoch, self.best_metric_epoch = int(values["best_epoch"]), int(values.get("best_metric_epoch", -1))
        self.ending = values.get("ending")
