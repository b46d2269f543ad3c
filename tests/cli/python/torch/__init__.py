"""A stand-in for PyTorch in which `sagegen bench` measures without a GPU: a tensor is a shape, strides, some memory and one value that
all of its elements have; every event lies a millisecond after the last. SPDX-License-Identifier: Apache-2.0"""
import ctypes
import math

from . import cuda  # noqa: F401

__version__ = "0.0+standin"
bfloat16, float32, uint8, float8_e4m3fn = "bfloat16", "float32", "uint8", "float8_e4m3fn"
BYTES = {bfloat16: 2, float32: 4, uint8: 1, float8_e4m3fn: 1}


class Tensor:
    def __init__(self, shape, dtype, value=1.0, strides=None):
        self.shape, self.dtype, self.value, self.device = tuple(shape), dtype, value, "cuda"
        self.strides = strides or tuple(math.prod(self.shape[i + 1:]) for i in range(len(self.shape)))
        self.memory = None

    def data_ptr(self):
        if self.memory is None:
            self.memory = ctypes.create_string_buffer(math.prod(self.shape) * BYTES[self.dtype] + 256)
        return (ctypes.addressof(self.memory) + 255) // 256 * 256

    def stride(self, i):
        return self.strides[i]

    def transpose(self, i, j):
        order = list(range(len(self.shape)))
        order[i], order[j] = order[j], order[i]
        return Tensor([self.shape[k] for k in order], self.dtype, self.value, tuple(self.strides[k] for k in order))

    def contiguous(self):
        return Tensor(self.shape, self.dtype, self.value)

    def to(self, dtype):
        return Tensor(self.shape, dtype, self.value)

    def float(self):
        return self.to(float32)

    def norm(self):
        return Tensor((), float32, abs(self.value) * math.sqrt(math.prod(self.shape)))

    def item(self):
        return self.value

    def all(self):
        return self.value

    def __getitem__(self, index):
        shape = list(self.shape)
        for i, part in enumerate(index):
            shape[i] = len(range(self.shape[i])[part])
        return Tensor(shape, self.dtype, self.value)

    def __sub__(self, other):
        return Tensor(self.shape, self.dtype, self.value - other.value)

    def __truediv__(self, other):
        return Tensor(self.shape, self.dtype, self.value / other.value)


def randn(shape, device, dtype):
    if math.prod(shape) > 1 << 30:
        raise cuda.OutOfMemoryError("CUDA out of memory")
    return Tensor(shape, dtype)


def ones(*shape, device, dtype):
    return Tensor(shape, dtype)


def empty(size, dtype, device):
    return Tensor((size,), dtype)


def empty_like(tensor):
    return Tensor(tensor.shape, tensor.dtype)


def isfinite(tensor):
    return Tensor((), uint8, math.isfinite(tensor.value))


def manual_seed(seed):
    pass


def set_grad_enabled(enabled):
    pass


class backends:
    class cudnn:
        @staticmethod
        def version():
            return 91900
