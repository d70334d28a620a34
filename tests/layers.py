"""Integer layers a second time, in Python's integers and rationals, and as other libraries run them."""

from __future__ import annotations

import functools
from fractions import Fraction

import numpy as np


def product(a, b, a_points=0, b_points=0):
    """Σ (a − p)(b − q) of two matrices, by NumPy's loop over int64; as nested lists."""
    p = np.broadcast_to(a_points, len(a)).astype(np.int64)[:, None]
    return ((a.astype(np.int64) - p) @ (b.astype(np.int64) - np.asarray(b_points, np.int64))).tolist()


def wrapped(value):
    """The low 32 bits as two's complement."""
    return (value + 2**31) % 2**32 - 2**31


def clamped(value, low=-128, high=127):
    """The nearest of low to high."""
    return min(max(value, low), high)


def exact_code(total, multiplier, zero_point):
    """One rounding of the rational; Python's rounds ties to even."""
    return clamped(round(total * multiplier + zero_point))


def quantized_multiplier(real):
    """TFLite's QuantizeMultiplier of a rational: frexp, then round half away from zero."""
    if real == 0:
        return 0, 0
    shift = 0
    while real >= 1:
        real, shift = real / 2, shift + 1
    while real < Fraction(1, 2):
        real, shift = real * 2, shift - 1
    fixed = (2 * real * 2**31 + 1).__floor__() // 2
    if fixed == 2**31:
        fixed, shift = fixed // 2, shift + 1
    return (0, 0) if shift < -31 else (fixed, shift)


def toward_zero(numerator, denominator):
    """C's integer division."""
    quotient = abs(numerator) // denominator
    return -quotient if numerator < 0 else quotient


def doubling_high_mul(a, b):
    """SaturatingRoundingDoublingHighMul of gemmlowp."""
    if a == b == -(2**31):
        return 2**31 - 1
    nudge = 2**30 if a * b >= 0 else 1 - 2**30
    return toward_zero(a * b + nudge, 2**31)


def divide_by_power(x, exponent):
    """RoundingDivideByPOT of gemmlowp: half away from zero."""
    mask = 2**exponent - 1
    return (x >> exponent) + ((x & mask) > (mask >> 1) + (x < 0))


def tflite_code(total, multiplier, shift, zero_point):
    """MultiplyByQuantizedMultiplier of TFLite as it is built by default; None where int32 overflows."""
    lifted = total * 2 ** max(shift, 0)
    if lifted != wrapped(lifted):
        return None
    return clamped(divide_by_power(doubling_high_mul(lifted, multiplier), max(-shift, 0)) + zero_point)


def tflite_single_code(total, multiplier, shift, zero_point):
    """The same under TFLITE_SINGLE_ROUNDING."""
    result = (total * multiplier + 2 ** (30 - shift)) >> (31 - shift)
    return clamped(result + zero_point) if result == wrapped(result) else None


def float32_code(total, multiplier, zero_point):
    """Each step rounded to FP32 by the CPU, in its default mode."""
    with np.errstate(over="ignore", under="ignore"):
        number = np.float32(total) * np.float32(multiplier)
    return clamped(int(np.rint(np.clip(number, -1e9, 1e9))) + zero_point)


@functools.cache
def _session(kind, types, result):
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    known = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
    names = [f"x{k}" for k in range(len(types))]
    inputs = [
        helper.make_tensor_value_info(name, known[dtype], [None] * rank)
        for name, (dtype, rank) in zip(names, types, strict=True)
    ]
    output = helper.make_tensor_value_info("y", known.get(result, TensorProto.INT32), None)
    graph = helper.make_graph([helper.make_node(kind, names, ["y"])], kind, inputs, [output])
    model = helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def onnx_runtime(kind, *inputs, result="int32"):
    """MatMulInteger or QLinearMatMul by ONNX Runtime on the CPU; raises what ONNX Runtime raises."""
    arrays = [np.asarray(x) for x in inputs]
    session = _session(kind, tuple((x.dtype.name, x.ndim) for x in arrays), result)
    return session.run(None, {f"x{k}": x for k, x in enumerate(arrays)})[0]


def litert_convolution(x, weight, bias, x_step, x_point, weight_steps, y_step, y_point, reference):
    """A convolution of one pixel, which is a linear layer, by LiteRT: its reference kernel, or XNNPACK."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    int8, int32, convolution = 9, 2, 3

    def made(kind, **values):
        thing = kind()
        for name, value in values.items():
            setattr(thing, name, value)
        return thing

    def scales(steps, points):
        return made(
            schema.QuantizationParametersT,
            scale=np.atleast_1d(steps).tolist(),
            zeroPoint=np.atleast_1d(points).tolist(),
            quantizedDimension=0,
        )

    buffers = [made(schema.BufferT)]

    def tensor(name, shape, kind, quantization, data=None):
        buffer = made(schema.BufferT)
        if data is not None:
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
        buffers.append(buffer)
        return made(
            schema.TensorT, name=name, shape=list(shape), type=kind, quantization=quantization, buffer=len(buffers) - 1
        )

    (count, k), outputs = x.shape, len(weight)
    none = np.zeros(np.size(weight_steps), np.int64)
    tensors = [
        tensor(b"x", (count, 1, 1, k), int8, scales(x_step, x_point)),
        tensor(b"w", (outputs, 1, 1, k), int8, scales(weight_steps, none), weight),
        tensor(b"b", (outputs,), int32, scales(np.float32(x_step) * weight_steps, none), bias),
        tensor(b"y", (count, 1, 1, outputs), int8, scales(y_step, y_point)),
    ]
    options = made(schema.Conv2DOptionsT, padding=1, strideW=1, strideH=1, dilationWFactor=1, dilationHFactor=1)
    operator = made(
        schema.OperatorT, opcodeIndex=0, inputs=[0, 1, 2], outputs=[3], builtinOptionsType=1, builtinOptions=options
    )
    graph = made(schema.SubGraphT, name=b"main", tensors=tensors, inputs=[0], outputs=[3], operators=[operator])
    code = made(schema.OperatorCodeT, builtinCode=convolution, deprecatedBuiltinCode=convolution, version=3)
    model = made(schema.ModelT, version=3, operatorCodes=[code], buffers=buffers, subgraphs=[graph])
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    kind = OpResolverType.BUILTIN_REF if reference else OpResolverType.BUILTIN
    interpreter = Interpreter(model_content=bytes(builder.Output()), experimental_op_resolver_type=kind, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x.reshape(count, 1, 1, k))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).reshape(count, outputs)
