"""A pretended device whose memory nothing else can reach: tensors that are in the wrong place are found without a GPU.

A tensor of the device holds a CPU tensor, on which PyTorch's own operators compute. As on a GPU, it has no NumPy array,
and an operator refuses to mix it with a CPU tensor, unless that is a single number. Stricter than a GPU, which takes
indices from the CPU and waits for them.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

NAME = "apart"
DEVICE = torch.device("privateuseone", 0)
CPU = torch.device("cpu")
_COPIES = {torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default, torch.ops.aten._copy_from.default}
_READS = {"_local_scalar_dense", "item", "equal", "is_nonzero", "nonzero", "masked_select", "_unique2", "unique_dim",
          "unique_consecutive", "repeat_interleave"}  # fmt: skip
waited: list[str] = []
"""What the host waited for, in order: operators whose result it needs, masks as indices, and copies between memories."""
_libraries: list[torch.library.Library] = []


class MixedDevicesError(RuntimeError):
    """An operator was given tensors of both devices."""


class Apart(Tensor):
    """A tensor of the device; `inner` are its numbers."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Apart":
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=DEVICE, requires_grad=False,
        )  # fmt: skip
        made.inner = inner
        return made  # type: ignore[no-any-return]

    @classmethod
    def __torch_dispatch__(cls, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(operator, args, kwargs or {})

    def tolist(self) -> Any:
        waited.append("tolist")
        return self.inner.tolist()

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Apart({self.inner!r})"


def run(operator: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Return what an operator makes of tensors of the device, on the device that it is asked for, else on theirs."""
    given, form = tree_flatten((args, kwargs))
    tensors = [each for each in given if isinstance(each, Tensor)]
    here = [each for each in tensors if isinstance(each, Apart)]
    if operator not in _COPIES and here and any(not isinstance(each, Apart) and each.dim() for each in tensors):
        places = ["apart" if isinstance(each, Apart) else "cpu" for each in tensors]
        raise MixedDevicesError(f"{operator} of tensors on {', '.join(places)}")
    if here and _makes_the_host_wait(operator, given):
        waited.append(str(operator))
    asked = next((each for each in given if isinstance(each, torch.device)), None)
    stays = bool(here) if asked is None else asked.type == DEVICE.type
    inner = {id(each.inner): each for each in here}
    plain_args, plain_kwargs = tree_unflatten(
        [each.inner if isinstance(each, Apart) else CPU if isinstance(each, torch.device) else each for each in given],
        form,
    )
    results = operator(*plain_args, **plain_kwargs)

    def place(result: Any) -> Any:
        if not isinstance(result, Tensor):
            return result
        if not stays:
            return result.clone() if id(result) in inner else result  # a copy, as from one memory to another
        with torch.inference_mode(False):  # views of parameters are made in that mode, too
            return inner[id(result)] if id(result) in inner else Apart(result)

    return tree_map(place, results)


def _makes_the_host_wait(operator: Any, given: list[Any]) -> bool:
    name = operator.name().removeprefix("aten::").partition(".")[0]
    if name in ("_to_copy", "to", "copy_", "_copy_from"):
        places = [each.type for each in given if isinstance(each, torch.device)]
        places += ["apart" if isinstance(each, Apart) else "cpu" for each in given if isinstance(each, Tensor)]
        return "cpu" in places
    masks = name in ("index", "index_put", "index_put_") and any(
        isinstance(each, Tensor) and each.dtype == torch.bool for each in given[1:]
    )
    return masks or name in _READS


def _factories() -> Iterator[Any]:
    """Every operator of PyTorch that makes a tensor from nothing but numbers."""
    for full in torch._C._dispatch_get_all_op_names():
        name, _, overload = full.removeprefix("aten::").partition(".")
        if not full.startswith("aten::") or "names" in overload:
            continue
        with contextlib.suppress(AttributeError, RuntimeError):
            operator = getattr(getattr(torch.ops.aten, name), overload or "default")
            arguments = operator._schema.arguments
            takes = any("Tensor" in str(each.type) for each in arguments)
            if any(each.name == "device" for each in arguments) and not takes:
                yield full.removeprefix("aten::"), operator


def set_up() -> None:
    """Make the device known to PyTorch, once in a process."""
    if _libraries:
        return
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend(NAME)
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # `inner` is not part of what `data` can be set to
    library = torch.library.Library("aten", "IMPL")
    _libraries.append(library)
    for name, operator in _factories():
        library.impl(name, _make(operator), "PrivateUse1")
    library.impl("_copy_from", _copy_from, "PrivateUse1")


def _make(operator: Any) -> Any:
    def make(*args: Any, **kwargs: Any) -> Tensor:
        return Apart(operator(*args, **{**kwargs, "device": CPU, "pin_memory": False}))

    return make


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    return run(torch.ops.aten.copy_.default, (target, source), {})  # type: ignore[no-any-return]
