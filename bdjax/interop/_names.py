"""The globals that a PyTorch file may name, but for those that make arrays."""

# PyTorch's storages in numpy's codes; bfloat16 is read as integers first.
STORAGES = {
  "DoubleStorage": "f8",
  "FloatStorage": "f4",
  "HalfStorage": "f2",
  "BFloat16Storage": "u2",
  "LongStorage": "i8",
  "IntStorage": "i4",
  "ShortStorage": "i2",
  "CharStorage": "i1",
  "ByteStorage": "u1",
  "BoolStorage": "b1",
  "ComplexFloatStorage": "c8",
  "ComplexDoubleStorage": "c16",
}
# Names that are made without being read, by module; their arguments are not
# looked at. Quantized, sparse and nested tensors are among them.
INERT = {
  "argparse": ("Namespace",),
  "types": ("SimpleNamespace",),
  "pathlib": ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"),
  "builtins": ("bytearray", "complex"),
  "__builtin__": ("bytearray", "complex"),
  "torch": ("device",),
  "torch.serialization": ("_get_layout",),
  "torch._utils": (
    *("_rebuild_qtensor", "_rebuild_sparse_tensor", "_rebuild_tensor_v3"),
    *("_rebuild_sparse_csr_tensor", "_rebuild_nested_tensor"),
    *("_rebuild_meta_tensor_no_storage", "_rebuild_wrapper_subclass"),
  ),
}
UNREAD = tuple(  # storages of such tensors
  f"{kind}Storage"
  for kind in ("Untyped", "QInt8", "QUInt8", "QInt32", "QUInt4x2", "QUInt2x4")
)
# Names that stand for themselves, by module.
TOKENS = {
  "torch": (
    *STORAGES,
    *UNREAD,
    *(kind.replace("Storage", "Tensor") for kind in STORAGES),
    *("Tensor", "float64", "float32", "float16", "bfloat16", "int64", "int32"),
    *("int16", "int8", "uint8", "bool", "complex64", "complex128", "uint16"),
    *("uint32", "uint64", "qint8", "quint8", "qint32", "float8_e4m3fn"),
    *("float8_e5m2", "strided", "sparse_coo", "contiguous_format"),
    *("channels_last", "preserve_format", "per_tensor_affine"),
    *("per_channel_affine", "per_tensor_symmetric", "per_channel_symmetric"),
  ),
  "torch.nn.parameter": ("Parameter",),
  "numpy": ("ndarray",),
  **dict.fromkeys(
    ("builtins", "__builtin__"),
    ("list", "dict", "int", "float", "str", "tuple", "bool"),
  ),
}
