"""An ensemble as one ONNX graph: every member's ten views of the stored images, and the weighted mean of it all."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alexnet.errors import ConfigError, ExportError
from alexnet.evaluation.ensemble import Ensemble
from alexnet.exchange.exporting import (
    ONNX_LIMIT,
    Exported,
    accept_difference,
    check_out,
    compute_outputs,
    copy_network,
    run_onnx,
    say_operators,
)
from alexnet.exchange.onnx_graph import IMAGES, OPSET, PROBABILITIES, build_graph, count_bytes, import_onnx
from alexnet.exchange.programs import write_onnx_program
from alexnet.files.writing import write_bytes
from alexnet.network.model_file import by_views


def export_ensemble(ensemble: Ensemble, to: str, out: Path, *, plain_normalization: bool = False) -> Exported:
    """Write an ensemble as ONNX, from stored images (N, S, S, 3) uint8 RGB to probabilities (N, K) over ten views.

    Args:
        to: "onnx", the only format that can hold several networks.
    Raises:
        ConfigError: another format or suffix, `out` exists, or a package is missing.
        ExportError: the weights do not fit one file, or the file would compute something else.
    """
    if to != "onnx":
        raise ConfigError(f"an ensemble is exported --to onnx, which can hold several networks; given was --to {to}.")
    check_out(out, "onnx")
    total = sum(count_bytes(member.model) for member in ensemble.members)
    if total > ONNX_LIMIT:
        raise ExportError(
            f"the weights of the members take {total:,} bytes; one ONNX file holds {ONNX_LIMIT:,}. Export fewer."
        )
    graph = build_ensemble_graph(ensemble, plain_normalization=plain_normalization)
    data = graph.SerializeToString()
    run = run_onnx(data)
    side, independent = ensemble.image_px, ensemble.independent is not None
    images = torch.randint(0, 256, (2, side, side, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    ours = torch.zeros(len(images), len(ensemble.class_names))
    for member, weight in zip(ensemble.members, ensemble.weights, strict=True):
        network, preprocessing = copy_network(member.model), member.model.preprocessing
        own = compute_outputs(network, preprocessing, images, ten_views=True, independent=independent)
        ours += weight * own[:, [member.class_names.index(name) for name in ensemble.class_names]]
    difference = accept_difference(ours, run(images), "probabilities")
    write_bytes(out, data)
    program = write_onnx_program(out, side, ensemble.framing, ten_views=True, independent=independent)
    dialects = " + ".join(member.network.spec.dialect for member in ensemble.members)
    return Exported(out, len(data), difference, say_operators(graph), program, dialects, len(ensemble.members))


def build_ensemble_graph(ensemble: Ensemble, *, plain_normalization: bool = False) -> Any:
    """Return an onnx.ModelProto from "images" to "probabilities"; classes are in the order of `class_names`."""
    onnx = import_onnx()
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    nodes, weights, terms = [], [], []
    for number, (member, weight) in enumerate(zip(ensemble.members, ensemble.weights, strict=True)):
        alone = replace(member.model, rejection=None)  # an ensemble rejects nothing
        graph = build_graph(alone, plain_normalization=plain_normalization, ten_views=True).graph

        def own(name: str, number: int = number) -> str:
            return name if name in ("", IMAGES) else f"member{number}/{name}"

        for node in graph.node:
            node.name = own(node.name)
            node.input[:] = [own(name) for name in node.input]
            node.output[:] = [own(name) for name in node.output]
            nodes.append(node)
        for tensor in graph.initializer:
            tensor.name = own(tensor.name)
            weights.append(tensor)
        order = np.array([member.class_names.index(name) for name in ensemble.class_names], np.int64)
        weights.append(numpy_helper.from_array(order, f"member{number}/order"))
        weights.append(numpy_helper.from_array(np.float32(weight), f"member{number}/weight"))
        columns, term = f"member{number}/ordered", f"member{number}/weighted"
        nodes.append(helper.make_node("Gather", [own(PROBABILITIES), f"member{number}/order"], [columns], axis=1))
        nodes.append(helper.make_node("Mul", [columns, f"member{number}/weight"], [term]))
        terms.append(term)
    nodes.append(helper.make_node("Sum", terms, [PROBABILITIES]))
    side, classes = ensemble.image_px, len(ensemble.class_names)
    given = helper.make_tensor_value_info(IMAGES, onnx.TensorProto.UINT8, ["N", side, side, 3])
    returned = helper.make_tensor_value_info(PROBABILITIES, onnx.TensorProto.FLOAT, ["N", classes])
    built = helper.make_graph(nodes, "alexnet ensemble", [given], [returned], weights)
    result = helper.make_model(built, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    names = json.dumps(list(ensemble.class_names))
    titles = json.dumps(list(ensemble.class_titles))
    props = {"class_names": names, "class_titles": titles, "weights": json.dumps(list(ensemble.weights))}
    if ensemble.independent is not None:
        props |= {"outputs": "independent", "thresholds": json.dumps(by_views(ensemble.independent.thresholds))}
    helper.set_model_props(result, props)
    return result
