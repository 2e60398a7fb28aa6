"""A drawn clip's whole way: prepared, learned from, told, tested; and what is refused."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import alexnet
from alexnet.batches.preprocessing import Preprocessing
from alexnet.cli import cli
from alexnet.data.scenes.motion import MOTIONS, draw_clip, encode_webp, write_clips
from alexnet.evaluation.classifier import load
from alexnet.files.tensors import read_document, read_tensors, write_tensors
from alexnet.network.alexnet import build
from alexnet.network.model_file import Model, save_model
from alexnet.temporal.clip_model import TemporalClassifier, open_temporal
from alexnet.temporal.clips import list_clips
from alexnet.temporal.testing import measure_clip_errors
from conftest import write_store

PLAIN = ["--precision", "float32"]


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli, list(map(str, words)))
    assert result.exit_code == code or (code and result.exception), (result.output, result.exception)
    said = result.exception if code and not isinstance(result.exception, SystemExit) else None
    return str(said) if said else result.stdout if not code else result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLIPS, their STORE, an image model image.safetensors whose weights were never trained, and both models of clips."""
    root = tmp_path_factory.mktemp("temporal")
    write_clips(root / "CLIPS", train=3, val=2, size=32, frames=4)
    run("prepare", root / "CLIPS", "--every", 0.125, "--thin", 0, "--size", 32, "--out", root / "STORE")
    names = ("fish", "mug", "anchor")
    preprocessing = Preprocessing(np.full((32, 32, 3), 120, np.float32), 60.0)
    image_model = Model(build("cifar-80sec", 3, initialization="he"), names, names, preprocessing, {})
    save_model(root / "image.safetensors", image_model)
    for kind in ("pooling", "convolution"):
        run(
            "train",
            root / "STORE",
            "--temporal",
            kind,
            "--from",
            root / "image.safetensors",
            *PLAIN,
            "--out",
            root / kind,
        )
    return root


def test_the_first_commands_of_the_guide_work_in_their_order(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clips in a folder for each class, and a RUN of 32 px, for which the guide says --size 32."""
    shutil.copytree(folder / "CLIPS" / "train", tmp_path / "CLIPS")
    (tmp_path / "RUN").mkdir()
    shutil.copy(folder / "image.safetensors", tmp_path / "RUN" / "model.safetensors")
    shutil.copy(next((folder / "CLIPS" / "val").glob("rises/*.webp")), tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "motion.md").read_text(encoding="utf-8")
    block = page.split("```sh\n")[1].split("```")[0]
    said = [run(*shlex.split(line, comments=True)[1:], *(["--size", 32] if " prepare " in line else PLAIN))
            for line in block.splitlines()]  # fmt: skip
    assert len(said) == 4
    assert {split: len(list_clips(alexnet.open_store(Path("CLIPSTORE")), split)) for split in ("train", "val")} == {
        "train": 12,
        "val": 6,
    }
    assert "clip.mp4" in said[3]


def test_the_frames_of_a_clip_are_found_in_the_order_of_their_times(folder: Path) -> None:
    clips = list_clips(alexnet.open_store(folder / "STORE"), "val")
    assert len(clips) == 12
    assert [len(frames) for frames in clips.frames] == [4] * 12
    assert all(times.tolist() == [0, 0.125, 0.25, 0.375] for times in clips.seconds)
    assert (clips.every_seconds, clips.num_uneven) == (0.125, 0)
    assert clips.names[0] == "val/falls/50001.webp"
    assert clips.labels.tolist() == [label for label in range(6) for _ in range(2)]
    assert [part.tolist() for part in clips.each_frame().frames] == [[number] for number in range(48)]


def test_a_clip_is_told_as_its_frames_in_the_store_are(folder: Path) -> None:
    """The same probabilities by the path of predict and by that of evaluate."""
    store, classifier = alexnet.open_store(folder / "STORE"), open_temporal(folder / "convolution", precision="float32")
    errors = measure_clip_errors(classifier, store)
    told = json.loads(run("predict", folder / "convolution", folder / "CLIPS" / "val", "--top", 6, *PLAIN, "--json"))
    assert [row["frames"] for row in told["clips"]] == [4] * 12
    for row, probabilities in zip(told["clips"], errors.probabilities, strict=True):
        found = {each["name"]: each["probability"] for each in row["top"]}
        assert np.allclose([found[name] for name in classifier.class_names], probabilities, atol=1e-5)
    wrong = errors.probabilities.argmax(1) != errors.labels
    assert errors.error == wrong.mean()
    assert sum(errors.class_errors) == wrong.sum()
    assert (errors.clips, errors.frames, errors.class_clips) == (12, 48, (2,) * 6)


def test_evaluate_tells_what_time_is_worth(folder: Path) -> None:
    document = json.loads(run("evaluate", folder / "pooling", folder / "STORE", *PLAIN, "--json"))
    assert (document["head"], document["clips"], document["frames"]) == ("pooling", 12, 48)
    printed = run("evaluate", folder / "pooling", folder / "STORE", *PLAIN)
    lines = {line.split("  ")[0].strip(): line for line in printed.splitlines()}
    assert f"{100 * document['frame_error']:.2f} %" in lines["one frame"]
    assert f"{100 * document['mean_error']:.2f} %" in lines["mean of frames"]
    assert f"{100 * document['error']:.2f} %" in lines["pooling"]
    assert "12 clips, 48 frames, of" in printed
    assert "Guessing among 6 classes would be wrong for 83.33 %." in printed


def test_evaluate_notes_other_steps_in_time_than_those_that_were_learned(folder: Path, tmp_path: Path) -> None:
    """Also where near copies were left out, so that most frames are as far apart as those of the other store."""

    def notes_of(model: Path, store: Path) -> list[str]:
        return list(measure_clip_errors(open_temporal(model, precision="float32"), alexnet.open_store(store)).notes)

    for name, every in (("WIDE", 0.25), ("NARROW", 0.125)):
        command = ["prepare", folder / "CLIPS", "--every", every, "--size", 32, "--out", tmp_path / name]
        run(*command, "--thin", 0 if name == "WIDE" else 12)
    learned, wide, narrow = folder / "pooling", tmp_path / "WIDE", tmp_path / "NARROW"
    assert notes_of(learned, folder / "STORE") == []
    faster = "a motion looks faster or slower to it."
    apart = f"{learned} learned from frames 0.125 s apart, and those of {wide} are 0.25 s apart; {faster}"
    assert notes_of(learned, wide) == [apart]
    thinned = list_clips(alexnet.open_store(narrow), "val")
    assert thinned.num_uneven
    assert notes_of(learned, narrow)[-1].startswith(f"In {thinned.num_uneven} clips of {len(thinned)} frames are not")
    assert open_temporal(learned).model.provenance["every"] == 0.125
    half_left_out = replace(open_temporal(learned).model, every_seconds=0.25)
    classifier = TemporalClassifier(half_left_out, learned, precision="float32")
    asked = f"{learned} learned from a store of --every 0.125, and {wide} is one of --every 0.25; {faster}"
    assert measure_clip_errors(classifier, alexnet.open_store(wide)).notes == (asked,)


def test_the_image_model_stays_as_it_was_and_the_seed_fixes_the_rest(folder: Path) -> None:
    image, tensors = read_tensors(folder / "image.safetensors"), read_tensors(folder / "convolution")
    for name, tensor in image.items():
        assert torch.equal(tensor, tensors[f"image.{name}"])
    again = folder / "again.safetensors"
    command = ["train", folder / "STORE", "--temporal", "convolution", "--from", folder / "image.safetensors", *PLAIN]
    run(*command, "--out", again)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in read_tensors(again).items())


def test_predict_prints_a_line_a_clip_and_names_what_it_leaves_out(folder: Path, tmp_path: Path) -> None:
    clip = folder / "CLIPS" / "val" / "grows" / "50000.webp"
    path, name, probability = run("predict", folder / "pooling", clip, "--one-line", *PLAIN).strip().split("\t")
    assert path == str(clip)
    assert name in MOTIONS
    assert 1 / 6 <= float(probability) <= 1
    (tmp_path / "short.webp").write_bytes(encode_webp(draw_clip("rises", 0, size=32, frames=2)))
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 100)
    said = run("predict", folder / "convolution", tmp_path, *PLAIN, code=1)
    assert (
        f"{tmp_path / 'short.webp'}: has 2 frames; the convolution of {folder / 'convolution'} reads 3 or more. "
        in said
    )
    assert "Take frames more often with --every, or give a longer clip." in said
    assert f"{tmp_path / 'broken.mp4'}: " in said


def test_predict_by_a_model_of_clips_tells_what_is_odd_about_one(folder: Path, tmp_path: Path) -> None:
    clip = tmp_path / "cut.gif"
    first, *rest = map(Image.fromarray, np.random.default_rng(0).integers(0, 256, (10, 48, 64, 3), np.uint8))
    first.save(clip, save_all=True, append_images=rest, duration=500)
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) * 2 // 3])
    result = CliRunner().invoke(cli, ["predict", str(folder / "pooling"), str(clip), *PLAIN])
    assert result.exit_code == 0
    assert " ".join(result.stderr.split()).count(f"{clip}: has an end that cannot be decoded.") == 1


def test_info_tells_what_a_model_of_clips_is(folder: Path) -> None:
    printed = run("info", folder / "convolution")
    for part in ("a model of clips", "one every 0.125 s", "18 clips, frames 72, seed 0", "cifar-80sec", "rises"):
        assert part in printed.replace("clips 18", "18 clips")
    assert json.loads(run("info", folder / "convolution", "--json"))["head"] == "convolution"


def refuse(*words: object) -> str:
    return run(*words, code=1)


def test_other_verbs_ask_for_the_image_model(folder: Path) -> None:
    expected = (
        f"{folder / 'pooling'}: is a model of clips, which evaluate, predict and draw timeline take, for clips alone. Here "
        "name the image model that it was made from."
    )
    assert refuse("features", folder / "pooling", folder / "CLIPS", "--out", folder / "f.npz") == expected
    assert (
        refuse("train", folder / "STORE", "--temporal", "pooling", "--from", folder / "pooling", "--out", folder / "x")
        == expected
    )


def test_stores_that_hold_no_clips_are_refused(folder: Path, small_store_path: Path) -> None:
    preprocessing = Preprocessing(np.full((40, 40, 3), 120, np.float32), 60.0)
    size = alexnet.open_store(small_store_path).size
    preprocessing = Preprocessing(np.full((size, size, 3), 120, np.float32), 60.0)
    save_model(
        folder / "other.safetensors",
        Model(build("cifar-80sec", 3), ("a", "b", "c"), ("a", "b", "c"), preprocessing, {}),
    )
    store = alexnet.open_store(small_store_path)
    said = refuse(
        "train",
        small_store_path,
        "--temporal",
        "pooling",
        "--from",
        folder / "other.safetensors",
        "--out",
        folder / "x",
    )
    assert said == (
        f"{small_store_path}: does not say of which clip {store.paths[0]} is a frame, and when it is shown. Make a store of "
        "clips: alexnet prepare CLIPS --every 0.5 --thin 0 --out STORE"
    )
    said = refuse(
        "train",
        folder / "STORE",
        "--temporal",
        "pooling",
        "--from",
        folder / "other.safetensors",
        "--out",
        folder / "x",
    )
    assert said.startswith(
        f"{folder / 'other.safetensors'} was trained on images of {size} px, {folder / 'STORE'} holds 32 px."
    )
    assert not (folder / "x").exists()


def clip_store(path: Path, lengths: list[int], labels: list[int] | None = None) -> Path:
    images = np.random.default_rng(0).integers(0, 255, (sum(lengths), 32, 32, 3), np.uint8)
    owners = [number for number, length in enumerate(lengths) for _ in range(length)]
    names = [
        f"c{owner}.mp4@{place / 2:g}s"
        for owner, length in zip(range(len(lengths)), lengths, strict=True)
        for place in range(length)
    ]
    store = write_store(
        path,
        {"train": (images, labels or [owner % 2 for owner in owners])},
        ("in", "out"),
        paths={"train": names},
        groups={"train": [f"c{owner}.mp4" for owner in owners]},
    )
    return store.path


def test_clips_that_are_too_short_are_refused(folder: Path, tmp_path: Path) -> None:
    model = ["--from", folder / "image.safetensors", "--out", tmp_path / "x"]
    short = clip_store(tmp_path / "SHORT", [4, 4, 2, 1])
    assert refuse("train", short, "--temporal", "convolution", *model) == (
        f"{short}: 2 clips with fewer frames than the 3 that a convolution reads, as c3.mp4, with 1. Take frames more often "
        "(prepare --every), or leave the clip out."
    )
    single = clip_store(tmp_path / "SINGLE", [1, 1, 1, 1])
    assert refuse("train", single, "--temporal", "pooling", *model) == (
        f"{single}: none of its 4 clips has two frames, so there is nothing to learn over time. Take frames more often "
        "(prepare --every)."
    )
    mixed = clip_store(tmp_path / "MIXED", [2, 2], labels=[0, 1, 1, 1])
    assert refuse("train", mixed, "--temporal", "pooling", *model) == (
        f"{mixed}: the frames of c0.mp4 are of several classes. Give each clip one class."
    )


def test_options_that_have_no_meaning_are_named(folder: Path) -> None:
    for words, message in (
        (["train", folder / "STORE", "--temporal", "pooling", "--out", folder / "x"],
         "--temporal learns on the features of an image model that stays as it is: add --from."),
        (["train", folder / "STORE", "--temporal", "pooling", "--from", "M", "--epochs", 3, "--out", folder / "x"],
         "--temporal trains a head alone. Leave out --epochs."),
        (["evaluate", folder / "pooling", folder / "STORE", "--views", 1, "--average"],
         "A model of clips is tested by itself. Leave out --views, --average."),
        (["evaluate", folder / "pooling", folder / "image.safetensors", folder / "STORE"],
         "A model of clips is tested by itself: name it alone."),
        (["predict", folder / "pooling", folder / "CLIPS", "--calibrated"],
         "MODEL is a model of clips. Leave out --calibrated."),
    ):  # fmt: skip
        assert message in run(*words, code=2)
    assert refuse(
        "train",
        folder / "STORE",
        "--temporal",
        "pooling",
        "--from",
        folder / "image.safetensors",
        "--out",
        folder / "pooling",
    ) == (
        f"--out {folder / 'pooling'}: is there already. Name a new file for the model of clips, such as clips.safetensors."
    )
    (folder / "EMPTY").mkdir(exist_ok=True)
    assert refuse("predict", folder / "pooling", folder / "EMPTY") == (
        f"{folder / 'EMPTY'}: holds no clips. Give videos, animated GIF or WebP files, or a folder of them."
    )


def test_files_whose_parts_do_not_fit_together_are_refused(folder: Path, tmp_path: Path) -> None:
    document = read_document(folder / "pooling", kinds=("temporal model",), newest_format=1)
    tensors = read_tensors(folder / "pooling")
    path = tmp_path / "clips.safetensors"

    def refused(**changes: object) -> str:
        write_tensors(path, tensors, {**document, **changes})
        return refuse("info", path)

    assert (
        refused(head="attention") == f"{path}: its head is 'attention'; known are pooling, convolution. Update alexnet."
    )
    assert refused(head="convolution") == (
        f"{path}: lacks the tensor head.convolve.bias; it belongs to another network."
    ) or "head.convolve" in refused(head="convolution")
    assert refused(format=2).startswith(f"{path}: has temporal model format 2; this version reads up to 1.")
    assert refused(class_names=["a"]).startswith(f"{path}: its header is incomplete or malformed")
    wide = {name: tensor if name != "head.reduce.weight" else torch.zeros(64, 5) for name, tensor in tensors.items()}
    write_tensors(path, wide, document)
    assert "tensor head.reduce.weight has shape (64, 5), this network needs (64, " in refuse("info", path)
    shutil.copy(folder / "pooling", path)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    assert refuse("predict", path, folder / "CLIPS").startswith(f"{path}: is damaged (its tensor ")


def test_a_still_image_is_no_clip(folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "still.png")
    said = run("predict", folder / "pooling", tmp_path / "still.png", code=1)
    assert str(tmp_path / "still.png") in said
    assert load(folder / "image.safetensors").predict([tmp_path / "still.png"])


def test_a_timeline_shows_what_the_head_scores(folder: Path, tmp_path: Path) -> None:
    clip = folder / "CLIPS" / "val" / "grows" / "50000.webp"
    for kind, times in (("convolution", ["0.125", "0.25"]), ("pooling", ["0", "0.125", "0.25", "0.375"])):
        out = tmp_path / f"{kind}.svg"
        run("draw", "timeline", folder / kind, clip, *PLAIN, "--out", out)
        head, *rows = [line.split(",") for line in out.with_suffix(".csv").read_text().splitlines()]
        assert head == ["time_s", "best", *sorted(MOTIONS)]
        assert [row[0] for row in rows] == times
        seen = open_temporal(folder / kind, precision="float32").look(clip)
        assert np.allclose([list(map(float, row[2:])) for row in rows], seen.look.moments, atol=1e-5)


def test_frames_that_are_farther_apart_than_those_it_learned_from_are_told(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "STORE"
    run("prepare", folder / "CLIPS", "--every", 0.25, "--thin", 0, "--size", 32, "--out", store)
    result = CliRunner().invoke(cli, ["evaluate", str(folder / "pooling"), str(store), *PLAIN])
    assert (
        result.stderr.replace("\n", " ")
        .strip()
        .endswith(
            f"Note: {folder / 'pooling'} learned from frames 0.125 s apart, and those of {store} are 0.25 s apart; a motion looks "
            "faster or slower to it."
        )
    )
