"""How to ask LiteRT (TensorFlow Lite): models of one operator, built by hand, run and converted."""

import numpy as np

# How a model's operators are run: by the reference kernels, by the optimized ones, by XNNPACK.
KERNELS = {
    "tflite": "BUILTIN_REF",
    "tflite_optimized": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "xnnpack": "AUTO",
}


def _tensor(schema, name, type, buffer, shape, step=None, zero_point=0):
    found = schema.TensorT()
    found.name, found.type, found.buffer, found.shape = name, type, buffer, np.array(shape, np.int32)
    if step is not None:
        found.quantization = schema.QuantizationParametersT()
        found.quantization.scale, found.quantization.zeroPoint = np.array([step], "f4"), np.array([zero_point], "i8")
    return found


def _model(schema, operator, tensors, inputs, output, data, options=None):
    """A model of one operator. The buffer of each tensor but those of `data` is empty."""
    import flatbuffers

    step = schema.OperatorT()
    step.opcodeIndex, step.inputs, step.outputs = 0, np.array(inputs, np.int32), np.array([output], np.int32)
    if options is not None:
        step.builtinOptions = options
        step.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
    graph = schema.SubGraphT()
    graph.name, graph.tensors, graph.operators = "main", tensors, [step]
    graph.inputs, graph.outputs = np.array([0], np.int32), np.array([output], np.int32)
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, operator)
    code.deprecatedBuiltinCode, code.version = code.builtinCode, 1
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT() for _ in range(len(tensors) + 1)]
    for place, array in data.items():
        model.buffers[place].data = np.frombuffer(array.tobytes(), np.uint8)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def run(operator, x, step, zero_point, dtype, kernels):
    """What QUANTIZE makes of float32 numbers, or DEQUANTIZE of codes, with parameters given."""
    from ai_edge_litert import interpreter
    from ai_edge_litert import schema_py_generated as schema

    kind = {"int8": schema.TensorType.INT8, "uint8": schema.TensorType.UINT8}[np.dtype(dtype).name]
    codes = _tensor(schema, "codes", kind, 1, x.shape, step, zero_point)
    numbers = _tensor(schema, "numbers", schema.TensorType.FLOAT32, 2, x.shape)
    tensors = [numbers, codes] if operator == "QUANTIZE" else [codes, numbers]
    resolver = getattr(interpreter.OpResolverType, KERNELS[kernels])
    model = _model(schema, operator, tensors, [0], 1, {})
    runner = interpreter.Interpreter(model_content=model, experimental_op_resolver_type=resolver, num_threads=1)
    runner.allocate_tensors()
    runner.set_tensor(0, x)
    runner.invoke()
    return runner.get_tensor(1).copy()


def convert(weights, numbers):
    """The converter's codes and steps of weights (channels, n), and step and zero point of n numbers as activations."""
    from ai_edge_litert import _pywrap_tensorflow_lite_calibration_wrapper as wrapper
    from ai_edge_litert import schema_py_generated as schema

    channels, n = weights.shape
    float32, options = schema.TensorType.FLOAT32, schema.Conv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    shapes = {"x": [1, 1, 1, n], "w": [channels, 1, 1, n], "b": [channels], "y": [1, 1, 1, channels]}
    tensors = [_tensor(schema, name, float32, k + 1, shape) for k, (name, shape) in enumerate(shapes.items())]
    data = {2: weights, 3: np.zeros(channels, np.float32)}
    model = _model(schema, "CONV_2D", tensors, [0, 1, 2], 3, data, options)
    calibrator = wrapper.CalibrationWrapper(model, [], [])
    calibrator.Prepare()
    calibrator.FeedTensor([numbers.reshape(1, 1, 1, n)])
    plain, code, bias = (np.dtype(name).num for name in ("float32", "int8", "int32"))
    converted = calibrator.QuantizeModel(plain, plain, True, code, bias, False, False)
    found = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(converted), 0))
    named = {one.name: one for one in found.subgraphs[0].tensors}
    codes = np.asarray(found.buffers[named[b"w"].buffer].data).view(np.int8).reshape(weights.shape)
    activation = named[b"x_int8"].quantization
    return codes, named[b"w"].quantization.scale, activation.scale[0], int(activation.zeroPoint[0])
