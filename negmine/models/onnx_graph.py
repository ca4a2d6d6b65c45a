"""Running an ONNX graph: what it asks for, what it gives, and how rows may share a run.

**Why some graphs run row by row.** ``onnxruntime.quantization.quantize_dynamic`` scales each
activation *tensor* by its own range, so in a batch every row's output depends on the other rows
and on the padding. Such a graph is run on one row at a time, unpadded, in as many threads as
there are cores: on two cores that took no more CPU time than padded batches (int8 MiniLM-L12 on
SciFact), and a row's output is a function of that row alone.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from negmine import processors
from negmine.errors import InvalidDataError, MissingDependencyError, UsageError, exhausted
from negmine.models.batching import token_budget
from negmine.models.devices import Placement, choose
from negmine.models.limits import checked_length, positions_of
from negmine.models.resolve import read_json
from negmine.models.room import loading
from negmine.models.tokens import Ints, attention_mask

# Reduces one run's output to one result per row, given the rows' lengths.
Reduce = Callable[[npt.NDArray[Any], Ints], npt.NDArray[Any]]

_KNOWN_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})
_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


@dataclass(frozen=True)
class Graph:
    """An opened graph.

    Attributes:
        session: the ``onnxruntime.InferenceSession``.
        file: the graph's file.
        placement: where it runs and in which format it was exported.
        inputs: the inputs it asks for, all among the four that a tokenizer gives.
        ranks: the rank of each output.
        row_by_row: rows influence one another in a batch, so they are run alone.
        pool: the threads of a ``row_by_row`` graph.
    """

    session: Any
    file: Path
    placement: Placement
    inputs: frozenset[str]
    ranks: dict[str, int]
    row_by_row: bool
    pool: ThreadPoolExecutor

    def run(
        self, output: str, ids: Ints, types: Ints, lengths: Ints, reduce: Reduce
    ) -> npt.NDArray[Any]:
        """One result per row of right-padded ``ids``."""
        if not self.row_by_row:
            feeds = self._feeds(ids, types, attention_mask(lengths))
            return reduce(self.session.run([output], feeds)[0], lengths)

        def one(row: int) -> npt.NDArray[Any]:
            length = lengths[row : row + 1]
            alone = slice(row, row + 1), slice(0, int(length[0]))
            feeds = self._feeds(ids[alone], types[alone], np.ones_like(ids[alone]))
            return reduce(self.session.run([output], feeds)[0], length)

        return np.concatenate(list(self.pool.map(one, range(len(ids)))))

    def token_budget(self, batch_size: int) -> int:
        """Padded tokens in one call of :meth:`run`.

        Rows that run alone have no common memory to keep small, and many keep the threads busy.
        """
        return token_budget(batch_size, "" if self.row_by_row else self.placement.device)

    def _feeds(self, ids: Ints, types: Ints, mask: Ints) -> dict[str, Ints]:
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        if "position_ids" in self.inputs:
            feeds["position_ids"] = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
        return {name: values for name, values in feeds.items() if name in self.inputs}


def open_graph(file: Path, device: str, dtype: str, threads: int | None) -> Graph:
    """Open a graph on a device.

    Args:
        file: the ``.onnx`` file.
        device: as the user asked for it.
        dtype: as the user asked for it: ``auto`` or what the graph was exported in.
        threads: CPU threads, by default one per core this process may use. They do not change
            the output.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            "running an ONNX model needs onnxruntime", hint="pip install onnxruntime"
        ) from error
    placement = choose(device, dtype, backend="onnx")
    row_by_row = _contains(file, b"DynamicQuantize")
    threads = threads or processors.allowed()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1 if row_by_row else threads
    providers: list[Any] = ["CPUExecutionProvider"]
    if placement.device != "cpu":
        number = int(placement.device.partition(":")[2] or 0)
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": number}))
    with loading(str(file), placement):
        try:
            session = onnxruntime.InferenceSession(str(file), options, providers=providers)
        except Exception as error:  # onnxruntime's exceptions have no public common base
            if exhausted(error):
                raise
            raise InvalidDataError(
                f"onnxruntime cannot open the graph: {error}", where=str(file)
            ) from error
    unknown = [i.name for i in session.get_inputs() if i.name not in _KNOWN_INPUTS]
    if unknown:
        raise InvalidDataError(
            f"the graph asks for inputs that a text does not give: {', '.join(unknown)}",
            where=str(file),
        )
    quantized = row_by_row or _contains(file, b"MatMulInteger") or _contains(file, b"QLinearMatMul")
    exported = "int8" if quantized else _TYPES.get(session.get_outputs()[0].type, "float32")
    if dtype not in ("auto", exported):
        raise UsageError(
            f"the ONNX graph {file} computes in {exported}, not in {dtype}",
            where="--dtype",
            hint="Use --dtype auto, or a graph exported in that format.",
        )
    how = "one row at a time (dynamic quantisation)" if row_by_row else "padded batches"
    return Graph(
        session=session,
        file=file,
        placement=replace(
            placement, dtype=exported, reason=f"{placement.reason}; the graph is {exported}; {how}"
        ),
        inputs=frozenset(i.name for i in session.get_inputs()),
        ranks={output.name: len(output.shape) for output in session.get_outputs()},
        row_by_row=row_by_row,
        pool=ThreadPoolExecutor(threads if row_by_row else 1, "negmine-onnx"),
    )


def open_tokenizer(folder: Path) -> Any:
    """The folder's ``tokenizers.Tokenizer``, without the truncation and padding it came with."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def pad_id(folder: Path, tokenizer: Any) -> int:
    """The id that fills rows up; masked out, so 0 does where none is named."""
    token = read_json(folder / "tokenizer_config.json").get("pad_token")
    name = token.get("content") if isinstance(token, dict) else token
    found = tokenizer.token_to_id(name) if isinstance(name, str) else None
    return 0 if found is None else int(found)


def max_length(folder: Path, asked: int | None) -> int:
    """Tokens of a row: what was asked for, else the model's own maximum.

    Raises:
        UsageError: more than the model has positions for, or no maximum is known.
    """
    config = read_json(folder / "config.json")
    positions = positions_of(config)
    own = [
        read_json(folder / "sentence_bert_config.json").get("max_seq_length"),
        read_json(folder / "tokenizer_config.json").get("model_max_length"),
        positions,
    ]
    # transformers writes 1e30 for "no limit known".
    known = [int(value) for value in own if value and value < 1e9]
    if asked is None and not known:
        raise UsageError(
            "the model does not say how many tokens it takes",
            where=str(folder),
            hint="Give --max-length.",
        )
    return checked_length(asked, positions, str(folder)) or min(known)


def _contains(file: Path, needle: bytes) -> bool:
    """Whether the graph names that operator; weights beside it in another file do not matter."""
    if not file.stat().st_size:
        return False
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(needle) >= 0
