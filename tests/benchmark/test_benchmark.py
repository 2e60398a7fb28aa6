"""Benchmarks compare like with like, and report what they say."""

import datetime
import functools
import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from alexnet.benchmark import measure, searching, step, suite, worker
from alexnet.benchmark.measure import Contender, Spread, compare_rates, measure_copy_rate, measure_matrix_rate
from alexnet.benchmark.scaling import bench_scaling, meet
from alexnet.benchmark.stock import build_stock_2014, build_stock_paper, make_inputs
from alexnet.benchmark.suite import write_record
from alexnet.cli import cli
from alexnet.network.alexnet import build
from alexnet.network.dialects import find_dialect
from alexnet.network.shapes import count_training_operations
from alexnet.system import Compute


def test_the_stock_network_computes_what_ours_does() -> None:
    ours, stock = build("paper", 1000, seed=1).eval(), build_stock_paper().eval()
    layers = [module for module in stock if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)]
    with torch.no_grad():
        for mine, theirs in zip(ours.layers.values(), layers, strict=True):
            theirs.weight.copy_(mine.weight)
            theirs.bias.copy_(mine.bias)
        for name in ("fc7", "fc8"):  # inverted dropout does not halve in testing, the paper's does
            layers[list(ours.layers).index(name)].weight.mul_(0.5)
        inputs = make_inputs(2, torch.float32, channels_last=False)
        torch.testing.assert_close(ours(inputs), stock(inputs), rtol=1e-4, atol=1e-4)


def test_the_2014_network_has_torchvisions_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in build_stock_2014().parameters()) == 61_100_840


def test_a_step_of_128_images_is_529_gigaflop() -> None:
    assert 128 * count_training_operations(find_dialect("paper", 1000)) == pytest.approx(529e9, rel=0.01)


def test_ratio_and_fraction_come_from_medians() -> None:
    row = compare_rates("x", [10, 30, 20], [2, 4, 100], ceiling=40, unit="images/s")
    assert (row.ratio, row.fraction) == (5, 0.5)
    assert row.ours == Spread(20, 14, 26, 3)
    values = row.to_json()
    assert {"what", "ours", "theirs", "ratio", "ceiling", "fraction", "unit", "n"} <= set(values)
    assert (values["ours"], values["theirs"], values["n"]) == (20, 4, 3)


def test_ceilings_are_measured() -> None:
    assert measure_matrix_rate(torch.float32, size=256, rounds=2) > 1e8
    assert measure_copy_rate(num_bytes=2**20, rounds=2) > 1e7


def test_a_contender_runs_in_a_process_of_its_own_and_tells_its_memory() -> None:
    with Contender("stock-inference", batch=1, dtype="float32") as contender:
        assert 0 < contender.seconds() < 60
        assert contender.peak_bytes > 2**28  # 61 million weights in float32


def test_contenders_compute_with_the_threads_that_bench_was_given() -> None:
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with Contender("plain-step", batch=1, dialect="cifar-80sec") as contender:
                assert contender.value == {"threads": threads}
    finally:
        torch.set_num_threads(before)


def test_a_contender_that_breaks_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="benchmark nonsense ended with exit code 1"), Contender("nonsense"):
        pass


def test_an_unknown_benchmark_names_the_known() -> None:
    result = CliRunner().invoke(cli, ["bench", "speed"])
    assert result.exit_code == 2
    known = "kernels, step, loader, evaluate, prepare, search, scaling, serve"
    assert f"Unknown benchmark 'speed'. Known: {known}." in result.output


def test_prepare_is_measured_and_recorded(small_store_path: Path, tmp_path: Path) -> None:
    words = ["bench", "--what", "prepare", "--rounds", "1", "--json", "--record", tmp_path]
    pictures = small_store_path.parent / "pictures"
    words += ["--images", pictures]
    result = CliRunner().invoke(cli, list(map(str, words)))
    assert result.exit_code == 0, result.output
    row = json.loads(next(line for line in result.output.splitlines() if line.startswith("{")))
    assert row["what"] == "prepare : Pillow"
    assert row["ratio"] > 0
    (record,) = tmp_path.iterdir()
    head, saved, _ = map(json.loads, record.read_text(encoding="utf-8").splitlines())
    assert head["command"] == f"alexnet bench prepare --batch 128 --rounds 1 --images {pictures}"
    assert saved["samples"]["ours"] == [row["ours"]]


def test_a_record_is_named_by_date_subject_and_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "describe_system", lambda: {"processor": "Intel(R) Xeon(R) Processor (AMX)"})
    path = write_record(tmp_path, "step", [], "alexnet bench step")
    assert path.name == f"{datetime.date.today().isoformat()}_step_intel-xeon-processor-amx.jsonl"
    head = json.loads(path.read_text(encoding="utf-8"))
    assert head["memory_gib"] > 0.1
    assert head["storage"].split(",")[0]


@pytest.mark.slow
def test_every_benchmark_runs_on_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = functools.partial(measure_matrix_rate, size=256, rounds=1)  # ceilings have a test of their own
    for module in (measure, searching):
        monkeypatch.setattr(module, "measure_matrix_rate", quick)
    for words in ("kernels", "step", "step --dialect cifar-11pct", "loader --dialect cifar-80sec", "evaluate"):
        result = CliRunner().invoke(cli, ["bench", *words.split(), "--batch", "1", "--rounds", "1", "--json"])
        assert result.exit_code == 0, result.output


def test_the_faster_of_two_rates_is_the_ceiling_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "measure_matrix_rate", lambda dtype, device: 3e11)
    for convolution, ceiling in (
        (2e11, (3e11, "a product of 4096 x 4096, 300 GFLOP/s")),
        (4e11, (4e11, "the forward pass of conv3, 400 GFLOP/s")),
    ):
        monkeypatch.setattr(measure, "measure_convolution_rate", lambda dtype, device, rate=convolution: rate)
        assert measure.measure_ceiling(torch.float32) == ceiling


def test_without_bfloat16_a_step_is_compared_with_every_float32_contender(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []

    class Still:
        peak_bytes, value = 2**30, None

        def __init__(self, name: str, **options: object) -> None:
            asked.append({"name": name, **options})

        def __enter__(self) -> "Still":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def seconds(self) -> float:
            return 2.0

    monkeypatch.setattr(step, "Contender", Still)
    monkeypatch.setattr(step, "has_bfloat16", lambda device: False)
    monkeypatch.setattr(step, "measure_ceiling", lambda dtype, device: (529e9, "a ceiling"))
    rows = step.bench_step(128, 1, lambda done, total: None)
    names = ["stock-float32", "peak memory : stock-float32", "torchvision-float32", "torchvision-channels-last"]
    assert [row.what for row in rows] == names
    assert rows[0].fraction == pytest.approx(0.5, rel=0.01)
    assert rows[0].ceiling_of == "a ceiling"
    assert all(each["dtype"] == "float32" for each in asked)
    (row, memory) = step.bench_step(128, 1, lambda done, total: None, dialect="cifar-11pct")
    assert (row.what, memory.ratio) == ("cifar-11pct : plain PyTorch", 1)
    assert [each["name"] for each in asked[-2:]] == ["ours-step", "plain-step"]


def test_processes_that_meet_answer_together() -> None:
    with meet("data=2", 2, "exchange", num_bytes=4096, times=3) as crew:
        assert 0 < crew.seconds() < 60
        assert [member.value for member in crew.members] == [None, None]


@pytest.mark.slow
def test_steps_on_a_mesh_send_what_the_model_counts_and_take_about_what_it_says() -> None:
    (row,) = bench_scaling(8, 1, lambda done, total: None, meshes=("data=2,dense=2",))
    assert row.what == "data=2,dense=2"
    assert row.ceiling
    assert row.fraction == pytest.approx(row.ours.median / row.ceiling)
    assert row.samples["model compute s"][0] > 0
    assert row.samples["bytes"][0] > 2**20


def test_the_record_of_another_dialect_has_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(suite, "run_benchmark", lambda what, **_: [])
    monkeypatch.setattr(suite, "describe_system", lambda: {"processor": "Intel(R) Xeon(R) Processor"})
    words = ["bench", "step", "kernels", "--dialect", "cifar-11pct", "--record", str(tmp_path)]
    assert CliRunner().invoke(cli, words).exit_code == 0
    kernels, step_record = sorted(tmp_path.iterdir())
    assert kernels.name.endswith("_kernels_intel-xeon-processor.jsonl")
    assert step_record.name.endswith("_step-cifar-11pct_intel-xeon-processor.jsonl")
    head = json.loads(step_record.read_text(encoding="utf-8"))
    assert head["command"] == "alexnet bench step --batch 128 --rounds 5 --dialect cifar-11pct"


def test_a_gpu_by_name_is_refused_where_only_the_processor_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Compute(torch.device("cuda:0"), torch.float32, "")
    monkeypatch.setattr("alexnet.system.choose_compute", lambda device: found)
    result = CliRunner().invoke(cli, ["bench", "prepare", "--device", "cuda"])
    assert result.exit_code == 2
    assert "prepare is measured on the processor. --device is for kernels, step, loader, evaluate." in result.output


def test_a_gpu_by_name_is_what_the_benchmarks_of_devices_get_and_all_that_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[tuple[str, str]] = []
    monkeypatch.setattr("alexnet.system.choose_compute", lambda d: Compute(torch.device("cuda:0"), torch.float32, ""))
    monkeypatch.setattr(suite, "run_benchmark", lambda what, device, **_: given.append((what, device)) or [])
    monkeypatch.setattr(suite, "check_device", torch.device)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    result = CliRunner().invoke(cli, ["bench", "--device", "cuda", "--rounds", "1", "--record", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert given == [(what, "cuda:0") for what in ("kernels", "step", "loader", "evaluate")]
    records = sorted(tmp_path.iterdir())
    assert all(path.name.endswith("_nvidia-h200.jsonl") for path in records)
    head = json.loads(records[0].read_text(encoding="utf-8"))
    assert head["command"] == "alexnet bench evaluate --batch 128 --rounds 1 --device cuda:0"


def test_a_gpu_gets_several_runs_between_two_waits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(worker, "wait_for", lambda device: calls.append(f"wait for {device}"))
    monkeypatch.setattr(worker, "peak_bytes", lambda device: 7)
    monkeypatch.setattr(worker, "GPU_TURNS", 2)
    worker.serve(lambda: calls.append("run"), iter(["run\n"]), torch.device("cuda:1"))
    assert calls == ["run"] * worker.WARM_UP_ROUNDS + ["wait for cuda:1", "run", "run", "wait for cuda:1"]
    assert [json.loads(line)["peak_bytes"] for line in capsys.readouterr().out.splitlines()] == [7, 7]
