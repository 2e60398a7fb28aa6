"""What leaves this program: a model in another format, and activations of images as a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from alexnet.console.terminal import Terminal
from alexnet.data.store.reader import open_store
from alexnet.data.store.shards import Shards, write_shards
from alexnet.data.video.clip import is_clip
from alexnet.errors import ConfigError
from alexnet.evaluation.clips import EVERY_S, count_pictures, spread_clips
from alexnet.evaluation.ensemble import is_ensemble, load_ensemble
from alexnet.exchange.exporting import Exported, Format, export_model
from alexnet.exchange.features import BATCH_IMAGES, FeatureReport, write_features
from alexnet.exchange.importing import open_model
from alexnet.exchange.projector import write_projection
from alexnet.files.addresses import local, on_disk
from alexnet.functions.opening import (
    Place,
    Places,
    check_shared,
    image_files,
    open_classifier,
    share_work,
    tell_unfinished,
)


def export(
    model: Place,
    to: Format | Literal["folder"],
    out: Place,
    *,
    plain_norm: bool = False,
    ten_views: bool = False,
    dialect: str | None = None,
    mean: str | None = None,
    class_names: Place | None = None,
    show: bool = False,
) -> Exported:
    """Write a model in another format, or the weights of another program as a model file: `alexnet export`.

    What is written has been compared with the model; if they disagree, nothing is.

    Args:
        model: Run folder, model file or, to "onnx", ensemble file; or torchvision's alexnet (.pth, .safetensors), or a
            .caffemodel of bvlc_alexnet or CaffeNet.
        to: "alexnet", a model file; "onnx"; "torchvision", a state dict for its alexnet; "program", for
            torch.export.load; "folder", weights, ONNX and a card of the model, to give away.
        out: What to create: .safetensors, .onnx, .pth or .safetensors, .pt2; or a folder.
        plain_norm, ten_views: Of ONNX: response normalisation without the operator LRN; to the probabilities of ten
            views.
        dialect: Which network foreign weights are of, where their shapes leave it open.
        mean: What the inputs of foreign weights lost: "R,G,B" on the 0-255 scale, or a Caffe mean file; the usual of
            their kind where None.
        class_names: Names of the classes of foreign weights: a text file, one per line.
        show: Whether to say on standard error that an unfinished run is used.
    Raises:
        WeightsError: the model is damaged, unsafe, or of no known network.
        ExportError: the file would not compute what the model does, or the format cannot express it.
        ConfigError: an option does not go with the format, `out` exists, or a package is missing.
    """
    path, file = local(model), on_disk(out, "export")
    tell_unfinished(Terminal(quiet=not show), path)
    if is_ensemble(path):
        from alexnet.exchange.onnx_ensemble import export_ensemble

        return export_ensemble(load_ensemble(path, precision="float32"), to, file, plain_normalization=plain_norm)
    opened = open_model(
        path, dialect=dialect, mean=mean, class_names=None if class_names is None else local(class_names)
    )
    if to == "folder":
        from alexnet.runs.model_folder import export_folder

        if ten_views:
            raise ConfigError("--ten-views goes with --to onnx only; given was --to folder.")
        return export_folder(path, opened, file, plain_normalization=plain_norm)
    return export_model(opened, to, file, plain_normalization=plain_norm, ten_views=ten_views)


def export_store(store: Place, out: Place, *, show: bool = False) -> Shards:
    """Write the pictures of a store as WebDataset shards, for other trainers: `alexnet export --to webdataset`.

    Args:
        store: Folder or address of a store.
        out: Folder to create: train-00000.tar and so on, of about 256 MiB each. KEY.jpg are the bytes of a store with
            codec jpeg, KEY.png the pixels of a raw one; KEY.cls is the number of the class, KEY.json its name and the
            path of the picture.
        show: Whether to tell on standard error how it goes.
    Raises:
        StoreError: `store` is none, or is damaged.
        ConfigError: `out` exists, or a picture of the store may have any number of classes.
    """
    folder, opened = on_disk(out, "export"), open_store(store)
    with Terminal(quiet=not show).progress("writing", "images") as meter:
        return write_shards(opened, folder, tick=meter)


def features(
    model: Place,
    images: Places,
    out: Place,
    to: Literal["file", "projector"] = "file",
    *,
    layers: Sequence[str] | None = None,
    batch_size: int = BATCH_IMAGES,
    every: float = EVERY_S,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    show: bool = False,
    cluster: str | None = None,
) -> FeatureReport:
    """Write what layers make of the centre view of each image into a file, one row per image: `alexnet features`.

    The file holds the paths too, and where the rows come from: weights, dialect, preprocessing. For arrays in memory:
    `load(model).activations(images, layers)`.

    Args:
        model: A run folder or model file.
        images: Files, and folders with every image and clip in them; the projector gets no clips.
        out: .npz, .h5 or .parquet, or the projector's folder; must not exist.
        to: "projector" writes a folder for TensorFlow's Embedding Projector instead: tables and a sprite.
        layers: Names such as "conv1", "conv5.pool:a", "fc7.relu"; the last hidden layer, rectified, where None.
        batch_size: Images computed together; rows do not depend on it beyond rounding.
        every: Seconds between the frames of clips; each has a row, called clip.mp4@12.5s.
        device, precision, threads, show: As for `train`.
        cluster: As for `evaluate`; for images alone, into a file.
    Returns:
        `rows` written, their `shapes` by layer, and `left_out`: why some images have none.
    Raises:
        ConfigError: a layer is unknown or named twice, or `out` is not accepted.
        SourceError: a folder holds no images, or no image could be read.
        WeightsError: there is no model, or it is damaged.
    """
    check_shared(cluster, model, images)
    terminal, classifier = open_classifier(
        local(model), device=device, precision=precision, threads=threads, quiet=not show
    )
    names = [classifier.network.features_name()] if layers is None else layers
    if to == "projector":
        if cluster is not None:
            raise ConfigError("the projector's folder is made on one machine. Leave out --cluster, or --to projector.")
        with terminal.progress("computing", "images") as meter:
            return write_projection(
                classifier, image_files(images), names, Path(out), batch_size=batch_size, tick=meter
            )
    files = image_files(images, clips=True)
    if cluster is not None:
        if any(map(is_clip, files)):
            raise ConfigError(
                "--cluster shares images, and how many frames clips have is not known before. Leave it out, or make an "
                "index of the clips, which knows."
            )
        with (
            share_work(cluster, threads=threads, device=device) as executor,
            terminal.progress("computing", "images") as meter,
        ):
            return write_features(
                classifier, files, names, Path(out), batch_size=batch_size, tick=meter, executor=executor
            )
    odd: list[str] = []
    pictures = spread_clips(files, every, size=classifier.image_px, framing=classifier.framing, notice=odd.append)
    with terminal.progress("computing", "images") as meter:
        report = write_features(
            classifier,
            pictures,
            names,
            Path(out),
            batch_size=batch_size,
            total=count_pictures(files, every),
            tick=meter,
        )
    return report._replace(odd=tuple(odd))
