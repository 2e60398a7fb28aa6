"""Which version runs, what is said about it, and what is refused."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from alexnet import kernels, system
from alexnet.batches.loader import Batch
from alexnet.errors import ConfigError
from alexnet.kernels import Normalization, choose, compiled, functions, operators, plain
from alexnet.network.alexnet import build
from alexnet.recipes.fields import Optimization
from alexnet.training.optimizer import MomentumDescent
from alexnet.training.update import Update


def test_the_report_names_every_kernel_with_its_version_and_reason() -> None:
    rows = [row for row in kernels.report() if row.device == "cpu"]
    assert [(row.kernel, row.version) for row in rows] == [
        ("normalize_responses", "numba"),
        ("normalize_and_pool", "numba"),
        ("pool_maximum", "numba"),
        ("spatially_normalize_responses", "plain"),
        ("gather_patches", "numba"),
        ("convolve", "numba" if system.has_short_vectors() else "plain"),
        ("update_weights", "numba"),
        ("dropout", "numba"),
    ]
    assert rows[0].reason == "compiled for this CPU; float64 and float16 inputs use plain PyTorch"
    assert rows[3].reason == "one version only: PyTorch's average pooling does the work"


def test_other_devices_use_plain_pytorch() -> None:
    row = choose.choice("pool_maximum", "xpu")
    assert (row.version, row.reason) == ("plain", "Numba kernels are for the CPU; PyTorch runs on xpu")


@pytest.fixture
def fresh_choices() -> Iterator[None]:
    choose.choice.cache_clear()
    yield
    choose.choice.cache_clear()


@pytest.mark.usefixtures("fresh_choices")
@pytest.mark.parametrize(
    ("failure", "switch", "version", "reason"),
    [
        (None, "", "compiled", "plain PyTorch, fused by torch.compile; in testing as it is"),
        (None, "0", "plain", "ALEXNET_COMPILE=0"),
        ("Cannot find a working triton installation.", "", "plain",
         "torch.compile failed here: Cannot find a working triton installation."),
    ],
)  # fmt: skip
def test_on_a_gpu_the_plain_kernels_are_fused_where_that_works(
    monkeypatch: pytest.MonkeyPatch, failure: str | None, switch: str, version: str, reason: str
) -> None:
    monkeypatch.setattr(compiled, "find_failure", lambda device: failure)
    monkeypatch.setenv("ALEXNET_COMPILE", switch)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    rows = [row for row in kernels.report() if row.device == "cuda"]
    assert [row.kernel for row in rows] == list(choose.KERNELS)
    answers = {row.kernel: (row.version, row.reason) for row in rows}
    copies, convolution = answers.pop("gather_patches"), answers.pop("convolve")
    assert set(answers.values()) == {(version, reason)}
    assert copies == ("plain", "copies alone; there is nothing to fuse" if version == "compiled" else reason)
    assert convolution == ("plain", "one version only: PyTorch's convolution" if version == "compiled" else reason)


@pytest.mark.usefixtures("fresh_choices")
def test_only_training_compiles_and_only_in_its_own_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer about one image does not even wait for the trial of a compiler."""
    tried: list[str] = []
    monkeypatch.setattr(compiled, "find_failure", tried.append)
    x: Any = SimpleNamespace(device=torch.device("cuda:0"), dtype=torch.float32)
    assert choose.implementation("pool_maximum", x) is plain.pool_maximum
    assert tried == []
    with kernels.training(), ThreadPoolExecutor(1) as other:
        assert choose.implementation("pool_maximum", x) is compiled.pool_maximum
        assert other.submit(choose.implementation, "pool_maximum", x).result() is plain.pool_maximum
    assert choose.implementation("update_weights", x) is plain.update_weights
    assert tried == ["cuda"]


def test_an_update_is_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward and the update rule both."""
    used: list[str] = []
    implementation = choose.implementation

    def note(kernel: str, x: torch.Tensor) -> Any:
        used.append(f"{kernel} {'in' if choose._in_training.get() else 'out of'} training")
        return implementation(kernel, x)

    monkeypatch.setattr(functions, "implementation", note)
    optimizer = MomentumDescent(build("cifar-18pct", 10), Optimization(), dtype=torch.float32)
    batch = Batch(torch.zeros(2, 3, 32, 32), torch.tensor([0, 1]), torch.tensor([1, 2]), total=2)
    Update(optimizer)(batch, dict.fromkeys(optimizer.velocities, 0.1))
    assert set(used) == {"convolve in training", "spatially_normalize_responses in training",
                         "pool_maximum in training", "update_weights in training"}  # fmt: skip


def test_a_compiler_that_is_not_there_is_told_by_its_first_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(function: object, **options: object) -> Any:
        def run(*arguments: object) -> object:
            raise RuntimeError("\nbackend='inductor' raised:\nno compiler found")

        return run

    monkeypatch.setattr(torch, "compile", refuse)
    assert compiled.find_failure.__wrapped__("cpu") == "backend='inductor' raised:"


@pytest.mark.parametrize(
    ("dtype", "version"),
    [(torch.float32, "operators"), (torch.bfloat16, "operators"), (torch.float16, "plain"), (torch.float64, "plain")],
)
def test_the_dtype_decides_too(dtype: torch.dtype, version: str) -> None:
    x = torch.zeros(1, 1, 3, 3, dtype=dtype)
    assert choose.implementation("pool_maximum", x).__module__ == f"alexnet.kernels.{version}"
    assert kernels.pool_maximum(x).dtype == dtype


def test_a_forced_version_ends_with_its_block_even_after_an_error() -> None:
    x = torch.zeros(1, 1, 3, 3)
    with kernels.using("plain"):
        with kernels.using("reference"):
            assert choose.implementation("pool_maximum", x).__module__ == "alexnet.kernels.reference_autograd"
        assert choose.implementation("pool_maximum", x).__module__ == "alexnet.kernels.plain"
    with pytest.raises(KeyError), kernels.using("plain"):
        raise KeyError
    assert choose.implementation("pool_maximum", x).__module__ == "alexnet.kernels.operators"


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(ConfigError) as caught, kernels.using("cuda"):  # type: ignore[arg-type]
        pass
    assert str(caught.value) == "version is 'cuda'; choose one of numba, compiled, plain, reference."


def test_numba_cannot_be_forced_on_what_it_has_no_kernel_for() -> None:
    with kernels.using("numba"), pytest.raises(ConfigError) as caught:
        kernels.pool_maximum(torch.zeros(1, 1, 3, 3, dtype=torch.float64))
    assert str(caught.value) == (
        "numba is forced for pool_maximum, but the input is torch.float64 on cpu; "
        "its kernels take torch.float32 and torch.bfloat16 on cpu."
    )


def test_importing_the_kernels_does_not_import_numba_and_without_it_plain_pytorch_runs() -> None:
    script = """
import sys
from alexnet import errors, kernels
import torch
assert "numba" not in sys.modules
sys.modules["numba"] = None
y = kernels.normalize_and_pool(torch.ones(1, 8, 5, 5))
print(y.shape, {(row.version, row.reason) for row in kernels.report() if row.kernel == "dropout"})
try:
    kernels.warm_up(torch.float32)
except errors.ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout == (
        "torch.Size([1, 8, 2, 2]) {('plain', 'Numba could not be imported: import of numba halted; "
        "None in sys.modules')}\n"
        "numba is forced for normalize_responses, but it could not be imported: import of numba halted; "
        "None in sys.modules\n"
    )


def test_kernels_compile_where_no_cache_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    from alexnet.kernels import cpu_bits

    compile_now = cpu_bits.numba.njit

    def without_a_place_for_a_cache(**options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return compile_now(**options)

    monkeypatch.setattr(cpu_bits.numba, "njit", without_a_place_for_a_cache)
    assert cpu_bits.compiled_exactly(lambda x: x + 1)(1) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_warming_up_a_second_time_compiles_nothing(dtype: torch.dtype) -> None:
    from alexnet.kernels import cpu_normalization_and_pooling, cpu_patches, cpu_update_and_dropout

    modules = (cpu_normalization_and_pooling, cpu_patches, cpu_update_and_dropout)
    kernels_of_ours = [each for module in modules for each in vars(module).values() if hasattr(each, "signatures")]
    assert kernels.warm_up(dtype) > 0
    variants = [len(each.signatures) for each in kernels_of_ours]
    assert sum(variants) >= len(modules)
    kernels.warm_up(dtype)
    assert [len(each.signatures) for each in kernels_of_ours] == variants


@pytest.mark.parametrize("shape", [(2, 6, 7, 5), (1, 4, 3, 3)])
def test_operators_are_registered_as_pytorch_asks(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, requires_grad=True)
    constants = (5, 2.0, 1e-4, 0.75, 2)
    torch.library.opcheck(operators._normalize, (x, constants, True))
    torch.library.opcheck(operators._pool, (x, constants, True, True, 3, 2))
    torch.library.opcheck(operators._pool, (x, None, True, True, 3, 2))
    torch.library.opcheck(operators._gather, (x, 3, 1, 1, 0))
    torch.library.opcheck(operators._scatter, (x.detach(), operators._gather(x, 3, 1, 1, 0).detach(), 3, 1, 1, 0))
    torch.library.opcheck(operators._drop, (x, torch.arange(shape[0]), 0.5, 1))


def test_the_update_is_registered_as_one_that_changes_its_arguments() -> None:
    tensors = [torch.randn(6) for _ in range(3)]
    working, average = torch.zeros(6, dtype=torch.bfloat16), torch.zeros(6)
    torch.library.opcheck(operators._update, (*tensors, 0.1, 0.9, 0.0, working, average, 0.5))
    torch.library.opcheck(operators._update, (*tensors, 0.1, 0.9, 0.0, working, None, 0.0))
    torch.library.opcheck(operators._update, (*tensors, 0.1, 0.9, 0.0, None, None, 0.0))


REFUSALS = [
    (
        lambda: kernels.pool_maximum(torch.zeros(3, 4, 4)),
        "the input has shape (3, 4, 4); kernels need 4 axes: images, channels, height and width. "
        "Add an axis for a single image: x[None].",
    ),
    (
        lambda: kernels.pool_maximum(torch.zeros(1, 3, 4, 4, dtype=torch.uint8)),
        "the input has dtype torch.uint8; kernels need float32 or bfloat16. Convert it: x.float().",
    ),
    (
        lambda: kernels.normalize_responses(torch.zeros(1, 3, 4, 4), Normalization(size=0)),
        "size is 0; the window needs at least 1. The paper uses 5.",
    ),
    (
        lambda: kernels.normalize_responses(torch.zeros(1, 3, 4, 4), Normalization(k=0.0)),
        "k is 0.0; the divisor's constant needs to be finite and above 0. The paper uses 2.",
    ),
    (
        lambda: kernels.normalize_responses(torch.zeros(1, 3, 4, 4), Normalization(alpha=-1.0)),
        "alpha is -1.0; the multiplier of the sum needs to be finite and at least 0.",
    ),
    (
        lambda: kernels.normalize_responses(torch.zeros(1, 3, 4, 4), Normalization(beta=float("nan"))),
        "beta is nan; the exponent needs to be finite. The paper uses 0.75.",
    ),
    (
        lambda: kernels.normalize_responses(torch.zeros(1, 3, 4, 4), Normalization(towers=2)),
        "towers is 2; it needs to divide the 3 channels into equal groups.",
    ),
    (
        lambda: kernels.normalize_and_pool(torch.zeros(1, 3, 4, 4), rectify="always"),  # type: ignore[arg-type]
        "rectify is 'always'; choose one of before, after, none.",
    ),
    (
        lambda: kernels.pool_maximum(torch.zeros(1, 3, 4, 4), window=16),
        "window is 16; it needs to be 1 to 15. The paper uses 3.",
    ),
    (
        lambda: kernels.pool_maximum(torch.zeros(1, 3, 4, 4), stride=0),
        "stride is 0; it needs to be at least 1. The paper uses 2.",
    ),
    (
        lambda: kernels.pool_maximum(torch.zeros(1, 3, 1, 4)),
        "no window of 3 with stride 2 lies on maps of 1x4. Use a smaller window or larger maps.",
    ),
]


@pytest.mark.parametrize("index", range(len(REFUSALS)))
def test_impossible_options_are_refused_with_what_to_do(index: int) -> None:
    call, message = REFUSALS[index]
    with pytest.raises(ConfigError) as caught:
        call()
    assert str(caught.value) == message
