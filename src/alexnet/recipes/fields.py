"""What a recipe consists of: groups of documented, validated fields.

Every field can be changed from the command line with --set group.field=value. The named recipes are in `recipes`.
"""

from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

LARGEST = 1_000_000
"""More epochs or images than this are a slip."""
Count = Annotated[int, Field(ge=1, le=LARGEST)]
Epoch = Annotated[int, Field(ge=0, le=LARGEST)]
Size = Annotated[float, Field(ge=0, le=1e30)]  # what is near the largest float32 is a slip, too
Step = Annotated[int, Field(ge=1, le=LARGEST**2)]
Divisor = Annotated[float, Field(ge=1 / LARGEST, le=LARGEST)]
Weight = Annotated[float, Field(gt=0, le=LARGEST)]
Name = Annotated[str, Field(max_length=200)]

Balance = Literal["none", "classes", "square-root"]
BALANCES: dict[Balance, float] = {"none": 1.0, "square-root": 0.5, "classes": 0.0}
"""Balance -> what classes count: their number of images to this power."""

AS_START = "as start"
"""As a recipe's dialect: that of the model it starts from."""


class Group(BaseModel):
    """Frozen and validated; unknown fields are refused, and yes or no where a number is meant."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[str(info.field_name)].annotation
        if kind is bool or (isinstance(kind, type) and issubclass(kind, Group) and isinstance(value, dict)):
            return value
        values = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
        if any(isinstance(each, bool) for each in values):
            raise ValueError("true and false are not accepted here")
        return value


class Batches(Group):
    """What the network sees of the images (paper, sections 2 and 4.1)."""

    size: int = Field(128, ge=1, le=65_536)
    """Images per update."""
    random_crops: bool = True
    """Crop at random offsets; otherwise the centre."""
    scaled_crops: tuple[float, float] | None = None
    """Least and largest share of the image's area that a crop covers, resized to the network's input: crops of any size
    and of aspect ratios from 3:4 to 4:3 in place of the paper's; it needs random_crops. Not in the paper."""
    reflections: bool = True
    """Mirror with probability one half."""
    color_noise: float = Field(0.1, ge=0, le=100)
    """Standard deviation of the noise along the RGB principal axes, as a share of their scale; 0 turns it off."""
    color_noise_unit: Literal["standard_deviation", "eigenvalue"] = "standard_deviation"
    """Scale of the axes: their standard deviations (2012 source) or the printed eigenvalues on [0, 1] pixels."""
    color_noise_epochs: Epoch | None = None
    """Epochs with colour noise, after which there is none; without a number it stays to the end."""
    color_noise_rescales: bool = False
    """Divide noisy inputs by 1 + color_noise, as the 2012 source does; the division ends with the noise."""
    divisor: Divisor | tuple[Divisor, Divisor, Divisor] = 1.0
    """Inputs are divided by this after the mean is subtracted, by one number or by one each for R, G and B; 1 keeps the
    paper's 0-255 scale."""
    mean: Literal["aligned", "central"] = "aligned"
    """Part of the mean image that a crop loses: "aligned", its own place; "central", the middle for every crop (2012
    source)."""
    images_per_crop: Count = 1
    """Images in a row, in the order of the epoch, that share crop offset and reflection; 32 in the 2012 source."""
    balance: Balance = "none"
    """How much of an epoch falls to each class: "none", as many samples as it has images; "classes", equally many;
    "square-root", in proportion to the square root of its images. An epoch is as long as without. Not in the paper."""

    mixup: float = Field(0.0, ge=0, le=100)
    """Each image is mixed with the one that follows in the order of the epoch, pixels and labels, in shares drawn from
    Beta(mixup, mixup) of which the larger is its own (Zhang et al. 2018); 0.2 and 1 are usual, 0 mixes nothing. The
    training error counts the larger share's label. Not in the paper."""
    cutmix: float = Field(0.0, ge=0, le=100)
    """The same with a square of the other image in place of the image's own pixels (Yun et al. 2019), which covers a
    share drawn from Beta(cutmix, cutmix); 1 is usual. With mixup too, each image has one of them, by chance. Not in the
    paper."""
    mix_epochs: Epoch | None = None
    """Number of epochs with mixup and cutmix, the first ones; null has them in all epochs."""
    erasing: float = Field(0.0, ge=0, le=1)
    """Probability that a rectangle of an image is replaced by that of the mean image. It covers 2 to 33 % of the crop,
    and its sides are 3:10 to 10:3 (random erasing, Zhong et al. 2020). Not in the paper."""

    def mixes_in(self, epoch: int) -> bool:
        """Return whether images are mixed in an epoch, counted from 0."""
        return bool(self.mixup or self.cutmix) and (self.mix_epochs is None or epoch < self.mix_epochs)

    def color_noise_in(self, epoch: int) -> float:
        """Return the colour noise of an epoch, counted from 0."""
        ended = self.color_noise_epochs is not None and epoch >= self.color_noise_epochs
        return 0.0 if ended else self.color_noise

    def divisor_in(self, epoch: int) -> float | tuple[float, float, float]:
        """Return what inputs are divided by in an epoch, counted from 0; see `color_noise_rescales`."""
        scale = 1 + self.color_noise_in(epoch) if self.color_noise_rescales else 1.0
        if isinstance(self.divisor, tuple):
            red, green, blue = self.divisor
            return red * scale, green * scale, blue * scale
        return self.divisor * scale

    @model_validator(mode="after")
    def _shares_fit(self) -> "Batches":
        if self.scaled_crops is not None and not 0 < self.scaled_crops[0] <= self.scaled_crops[1] <= 1:
            raise ValueError(f"scaled_crops {list(self.scaled_crops)} must be two shares, 0 < least <= largest <= 1")
        if self.scaled_crops is not None and not self.random_crops:
            raise ValueError("scaled_crops needs random_crops; without, set batches.scaled_crops=null, too")
        return self


class Network(Group):
    """Which network, and its first weights (paper, sections 3 and 5)."""

    dialect: Name = "paper"
    """A name of network.dialects.DIALECTS, with modifiers if wanted: paper+no-norm. "as start": that of the model that
    training starts from."""
    initialization: Literal["dialect", "he"] = "dialect"
    """The dialect's own Gaussians and biases, or He normal with zero biases for small data."""


class RateChange(Group):
    """From an epoch on, other rates for one layer than the schedule's; a rate of 0 freezes."""

    epoch: Epoch
    """First epoch, counted from 0."""
    layer: Name
    """Name of the layer in the dialect."""
    weights: Size | None = None
    """Rate of its weights; without a number, as before."""
    biases: Size | None = None
    """Rate of its biases; without a number, as before."""


class Optimization(Group):
    """The update rule of section 5, and when its learning rate changes."""

    learning_rate: Size = 0.01
    """Rate at the start, or after the warm-up."""
    learning_rate_images: Count | None = None
    """Batch size that the rates are meant for: others multiply them by batches.size / learning_rate_images (Krizhevsky
    2014; Goyal et al. 2017). Without a number, rates are taken as they are."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Fraction of the previous update that is kept."""
    at_rate_zero: Literal["freeze", "coast"] = "freeze"
    """What a rate of 0 does: "freeze" stops a weight (2012 source), "coast" lets its velocity die out (Caffe)."""
    weight_decay: Size = 0.0005
    """Pull of each update towards zero, times the rate; on weights, never on biases (2012 source)."""
    schedule: Literal["plateau", "epochs", "steps", "cosine", "constant"] = "plateau"
    """"plateau": divide when the validation error stops improving (paper); "epochs": divide at `drop_epochs`;
    "steps": divide at `drop_steps`; "cosine": fall smoothly to zero over `total_epochs`; "constant": stay."""
    drop_factor: float = Field(10.0, gt=1, le=LARGEST)
    """The rate is divided by this at every drop."""
    plateau_patience_epochs: Count = 6
    """Epochs without improvement before a drop."""
    plateau_threshold: float = Field(0.001, ge=0, le=1)
    """Fall of the top-1 error that counts as an improvement; of pictures with several labels, of 1 - mean average
    precision."""
    plateau_drops: Epoch = 3
    """Drops before training ends at the next plateau."""
    drop_epochs: tuple[Epoch, ...] = ()
    """Epochs, counted from 0, at whose start schedule "epochs" divides the rate."""
    drop_steps: tuple[Step, ...] = ()
    """Numbers of updates after which schedule "steps" divides the rate."""
    bias_learning_rate: Size | None = None
    """Rate of biases at the start; without a number, that of the weights."""
    bias_schedule: Literal["as weights", "constant"] = "as weights"
    """Whether a bias_learning_rate is divided when the weights' rate is, or stays."""
    rate_factors: dict[Name, Size] = Field(default_factory=dict)
    """Layer -> factor of its rates, weights and biases; 0 freezes it. {conv1: 0, conv2: 0.1}"""
    kept_rate_factor: Size = 1.0
    """Factor of the rates of layers whose weights come from the model that training starts from, where rate_factors
    does not name them; new layers have the full rates."""
    rate_changes: tuple[RateChange, ...] = ()
    """Rates of single layers from some epoch on, in place of the schedule's."""
    weight_decays: dict[Name, Size] = Field(default_factory=dict)
    """Layer -> its weight decay, where it is not weight_decay."""
    layer_trust: Size = 0.0
    """Trust coefficient of LARS (You, Gitman, Ginsburg 2017), 0.001 there: the rate of each layer's weights is
    multiplied by layer_trust * |w| / (|gradient| + weight_decay * |w|). For large batches; 0 turns it off."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of a label's weight that is spread evenly over all classes (Szegedy et al. 2016); of pictures with several
    labels, over yes and no of each class. Not in the paper."""
    class_weights: Balance | dict[Name, Weight] = "none"
    """What the loss of an image counts, by its class: "none", 1; "classes", in inverse proportion to the class's
    training images; "square-root", to their square root; both with a mean of 1 over the training images. Or class ->
    weight; those not named count 1. {kingfisher: 5} Of pictures with several labels, each class's part of the loss is
    multiplied. Not in the paper."""
    dropout_from_epoch: Epoch = 0
    """First epoch with dropout, counted from 0. Before it no unit is dropped and outputs are scaled as in tests, for a
    faster start (late dropout, Liu et al. 2023). In the paper dropout is there from the start."""
    average_epochs: Size = 0.0
    """Weights averaged over their last updates take the place of the last ones wherever a network is validated, kept or
    tested (Polyak and Juditsky 1992). They are averaged exponentially, over about so many epochs, and at first over a
    tenth of the updates so far; 0 averages nothing. Not in the paper."""
    total_epochs: Count = 90
    """Training ends here at the latest."""
    stop_train_error: float = Field(0.0, ge=0, lt=1)
    """Training ends after an epoch whose training top-1 error is no more than this; 0 never ends it so. Of pictures
    with several labels it is the share of those whose labels are not told exactly."""
    warmup_epochs: Size = 0.0
    """The rate rises linearly from zero over this many epochs."""

    @model_validator(mode="after")
    def _drops_fit(self) -> "Optimization":
        if self.schedule == "epochs" and not self.drop_epochs:
            raise ValueError("schedule epochs needs drop_epochs")
        if self.schedule == "epochs" and any(epoch >= self.total_epochs for epoch in self.drop_epochs):
            raise ValueError(f"drop_epochs {list(self.drop_epochs)} must lie before total_epochs {self.total_epochs}")
        if list(self.drop_epochs) != sorted(set(self.drop_epochs)):
            raise ValueError(f"drop_epochs {list(self.drop_epochs)} must rise")
        if self.schedule == "steps" and not self.drop_steps:
            raise ValueError("schedule steps needs drop_steps")
        if list(self.drop_steps) != sorted(set(self.drop_steps)):
            raise ValueError(f"drop_steps {list(self.drop_steps)} must rise")
        if self.bias_schedule == "constant" and self.bias_learning_rate is None:
            raise ValueError("bias_schedule constant needs a bias_learning_rate")
        return self


class Evaluation(Group):
    """How the error is measured while training, and at its end."""

    every_epochs: Count = 1
    """Validate after every so many epochs; plateaus are judged at these."""


class Stop(Group):
    """Which epoch's weights training is about: the last one's, or those that served best on the validation images.

    Not in the paper. The validation images have then chosen the weights, so the error on them looks lower than it is;
    a test split tells.
    """

    patience_epochs: Count | None = None
    """Training ends when `metric` has not improved for so many epochs; without a number it never ends so."""
    metric: Literal["top1_error", "balanced_error", "loss"] = "top1_error"
    """What is compared, measured on the validation images; lower is better, and of equal ones the first. Of pictures
    with several labels, "top1_error" stands for 1 - mean average precision, and "balanced_error" is refused."""
    keep: Literal["last", "both", "best"] = "last"
    """"last": the last epoch's weights become model.safetensors, and no others are kept; "both": so, with the best
    epoch's beside them as best.safetensors; "best": the best epoch's become model.safetensors, with the last one's
    beside them as last.safetensors."""

    @property
    def looks_for_best(self) -> bool:
        """Whether epochs are compared at all."""
        return self.patience_epochs is not None or self.keep != "last"


class Recipe(Group):
    """Everything that decides the outcome of training, besides the store and the seed."""

    name: Name = "custom"
    batches: Batches = Batches()
    network: Network = Network()
    optimization: Optimization = Optimization()
    evaluation: Evaluation = Evaluation()
    stop: Stop = Stop()

    @model_validator(mode="after")
    def _plateaus_are_seen(self) -> "Recipe":
        if (
            self.optimization.schedule == "plateau"
            and self.optimization.plateau_patience_epochs < self.evaluation.every_epochs
        ):
            raise ValueError("optimization.plateau_patience_epochs is shorter than evaluation.every_epochs")
        patience = self.stop.patience_epochs
        if patience is not None and patience < self.evaluation.every_epochs:
            raise ValueError("stop.patience_epochs is shorter than evaluation.every_epochs")
        return self

    @property
    def may_end_early(self) -> bool:
        """Whether training can end before `optimization.total_epochs`."""
        optimization = self.optimization
        by_error = optimization.stop_train_error > 0 or self.stop.patience_epochs is not None
        return by_error or optimization.schedule == "plateau"

    @property
    def rate_scale(self) -> float:
        """Factor of the learning rates that follows from the batch size."""
        meant_for = self.optimization.learning_rate_images
        return self.batches.size / meant_for if meant_for else 1.0

    def to_yaml(self) -> str:
        """Return every field as YAML, for the run folder."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
