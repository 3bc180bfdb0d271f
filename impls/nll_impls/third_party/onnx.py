"""ONNX ``SoftmaxCrossEntropyLoss``: the reference evaluator, and ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from ._bridge import from_numpy, to_numpy
from ._package import from_package

if TYPE_CHECKING:
    from torch import Tensor

DOCS = "https://onnx.ai/onnx/operators/onnx__SoftmaxCrossEntropyLoss.html"
LACKS = ("gradient", "unbatched", "soft_target", "ignore_minus_100")
#: Runtimes read models of this intermediate representation or older.
IR_VERSION = 8
OPSET = 13


def load_reference() -> Callable[..., Any]:
    """``onnx.reference.ReferenceEvaluator``, which follows the operator's definition."""
    from onnx.reference import ReferenceEvaluator

    @cache
    def evaluator(*facts: Any) -> Any:
        return ReferenceEvaluator(_model(*facts)).run

    return _evaluated("onnx_reference", evaluator)


def load_runtime() -> Callable[..., Any]:
    """``onnxruntime.InferenceSession`` on the CPU provider."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)

    @cache
    def evaluator(*facts: Any) -> Any:
        model = _model(*facts).SerializeToString()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run

    return _evaluated("onnxruntime", evaluator)


def _evaluated(name: str, evaluator: Callable[..., Any]) -> Callable[..., Any]:
    """The operator in the call of the family; models are kept by dtype, rank and options."""

    def loss(
        input: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> Any:
        feeds = {"scores": to_numpy(input), "labels": to_numpy(target)}
        if weight is not None:
            feeds["weights"] = to_numpy(weight)
        kinds = tuple((each, str(array.dtype), array.ndim) for each, array in feeds.items())
        (value,) = evaluator(kinds, ignore_index, reduction)(None, feeds)
        return from_numpy(value, input)

    loss.__name__ = name
    return loss


def _model(kinds: Any, ignore_index: int | None, reduction: str) -> Any:
    """A model of the one operator, with inputs of these dtypes and ranks."""
    from onnx import TensorProto, helper

    element = {
        name: TensorProto.DataType.Value(_ONNX.get(kind, kind.upper())) for name, kind, _ in kinds
    }
    inputs = [
        helper.make_tensor_value_info(name, element[name], [f"{name}{i}" for i in range(rank)])
        for name, _, rank in kinds
    ]
    output = helper.make_tensor_value_info("loss", element["scores"], None)
    attributes: dict[str, Any] = {"reduction": reduction}
    if ignore_index is not None:
        attributes["ignore_index"] = ignore_index
    names = [name for name, _, _ in kinds]
    node = helper.make_node("SoftmaxCrossEntropyLoss", names, ["loss"], **attributes)
    graph = helper.make_graph([node], "loss", inputs, [output])
    imports = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION)


#: NumPy's names of dtypes where ONNX has others.
_ONNX = {"float32": "FLOAT", "float64": "DOUBLE"}

IMPLEMENTATIONS = (
    from_package(
        "onnxruntime",
        load_runtime,
        distribution="onnxruntime",
        requires=("onnxruntime", "onnx"),
        lacks=LACKS,
        dtypes=("float32", "float64"),  # its operator list: float and double on a CPU
        url="https://onnxruntime.ai/docs/reference/operators/",
    ),
    from_package(
        "onnx_reference",
        load_reference,
        distribution="onnx",
        requires=("onnx",),
        lacks=LACKS,
        precision="input_dtype",
        url=DOCS,
    ),
)
