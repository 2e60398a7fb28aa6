"""Whole programs that use an exported file, as they are printed behind the export: one picture to its best classes.

They need nothing of this package, and what they need of the model is in the file.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from alexnet.batches.views import evaluation_views

_SHOW = """\
for position in np.argsort(-probabilities)[:5]:
    print(f"{100 * probabilities[position]:5.1f} %  {names[position]}")
"""
_NORMALIZE = """\
powers = np.exp(logits - logits.max())
probabilities = powers / powers.sum()
"""


_SHOW_UNKNOWN = """\
if unknown:
    print(f"unknown, at distance {distance:.4f}")
"""


_LOGISTIC = "probabilities = 1 / (1 + np.exp(-logits))\n"
_SHOW_LABELS = """\
for position in np.flatnonzero(probabilities >= np.array(thresholds)):
    print(f"{100 * probabilities[position]:5.1f} %  {names[position]}")
"""


def write_onnx_program(
    out: Path, image_px: int, framing: str, *, ten_views: bool, rejects: bool = False, independent: bool = False
) -> str:
    """Return Python for an ONNX file, by onnxruntime.

    Args:
        independent: Whether a picture may have any number of classes; those at or above their thresholds are shown.
        rejects: Whether the file has distances, and says of pictures that they are unknown.
    """
    result = "probabilities" if ten_views or independent else "logits"
    names = [result, "distance", "unknown"]
    outputs = json.dumps(names)
    return (
        _import("json", "numpy as np", "onnxruntime")
        + _open_picture(image_px, framing)
        + f"session = onnxruntime.InferenceSession({str(out)!r})\n"
        + 'names = json.loads(session.get_modelmeta().custom_metadata_map["class_titles"])\n'
        + (
            f'{", ".join(names)} = (output[0] for output in session.run({outputs}, {{"images": image[None]}}))\n'
            if rejects
            else f'{result} = session.run(["{result}"], {{"images": image[None]}})[0][0]\n'
        )
        + ("" if ten_views or independent else _NORMALIZE)
        + (_SHOW_UNKNOWN if rejects else "")
        + (_read_thresholds(10 if ten_views else 1) + _SHOW_LABELS if independent else _SHOW)
    )


def _read_thresholds(views: int) -> str:
    """From the metadata of an ONNX file."""
    held = 'session.get_modelmeta().custom_metadata_map["thresholds"]'
    return f'thresholds = json.loads({held})["{views}"]\n'


def write_torch_program(out: Path, image_px: int, framing: str, *, independent: bool = False) -> str:
    """Return Python for a program of torch.export."""
    return (
        _import("json", "numpy as np", "torch")
        + _open_picture(image_px, framing)
        + 'beside = {"alexnet.json": ""}\n'
        + f"network = torch.export.load({str(out)!r}, extra_files=beside).module()\n"
        + 'names = json.loads(beside["alexnet.json"])["class_titles"]\n'
        + "logits = network(torch.from_numpy(image)[None])[0].detach().numpy()\n"
        + (_LOGISTIC if independent else _NORMALIZE)
        + (
            'thresholds = json.loads(beside["alexnet.json"])["thresholds"]["1"]\n' + _SHOW_LABELS
            if independent
            else _SHOW
        )
    )


def write_torchvision_program(
    out: Path,
    image_px: int,
    framing: str,
    crop_px: int,
    num_classes: int,
    usual: tuple[Sequence[float], Sequence[float]] | None,
    *,
    independent: bool = False,
) -> str:
    """Return Python for a state dict of torchvision's alexnet.

    Args:
        usual: Mean and divisor, where the file holds neither, as they are torchvision's own.
    """
    first, _, _ = evaluation_views(image_px, crop_px, 1)[0]
    middle = f"{first}:{first + crop_px}"
    is_pickled = out.suffix == ".pth"
    lines = [f"weights = torch.load({str(out)!r})" if is_pickled else f"weights = load_file({str(out)!r})"]
    if usual is None:
        lines.append('mean_image, divisor = weights.pop("mean_image"), weights.pop("divisor")')
        names = 'weights.pop("class_titles")' if is_pickled else (
            f'json.loads(safe_open({str(out)!r}, "pt").metadata()["class_titles"])'
        )  # fmt: skip
    else:
        mean, divisor = ([round(value, 3) for value in values] for values in usual)
        lines.append(f"mean_image, divisor = torch.tensor({mean}).expand(image.shape), torch.tensor({divisor})")
        names = f"range({num_classes})"
    lines += [
        f"names = {names}",
        f"network = torchvision.models.alexnet(num_classes={num_classes}).eval()",
        "network.load_state_dict(weights)",
        f"inputs = ((torch.from_numpy(image) - mean_image) / divisor)[{middle}, {middle}]",
        "logits = network(inputs.permute(2, 0, 1)[None])[0].detach().numpy()",
    ]
    imports = _import("json", "numpy as np", "torch", "torchvision")
    if not is_pickled:
        imports += "from safetensors import safe_open\nfrom safetensors.torch import load_file\n"
    ending = (_LOGISTIC if independent else _NORMALIZE) + _SHOW
    return imports + _open_picture(image_px, framing) + "\n".join(lines) + "\n" + ending


def _import(*modules: str) -> str:
    return "".join(f"import {module}\n" for module in modules) + "from PIL import Image, ImageOps\n"


def _open_picture(side: int, framing: str) -> str:
    """From a file to `image`, (side, side, 3) uint8: upright, brought to size as `Preprocessing.framing` says."""
    return f"""
picture = ImageOps.exif_transpose(Image.open("picture.jpg")).convert("RGB")
{_FRAMINGS[framing].format(side=side)}
"""


_FRAMINGS = {
    "square": "image = np.array(ImageOps.fit(picture, ({side}, {side}), Image.Resampling.BILINEAR))",
    "torchvision": """\
short = min(picture.size)
picture = picture.resize([int({side} * each / short) for each in picture.size], Image.Resampling.BILINEAR)
left, top = (round((each - {side}) / 2) for each in picture.size)
image = np.array(picture.crop((left, top, left + {side}, top + {side})))""",
    "caffe": """\
whole = (0, 0, *picture.size)
picture = picture.transform(({side}, {side}), Image.Transform.EXTENT, whole, Image.Resampling.BILINEAR)
image = np.array(picture)""",
}
"""Framing -> the lines that do what `data.images.decode` does; of the square, nearly."""
