"""SPDX-License-Identifier: Apache-2.0"""
from types import SimpleNamespace

clock = 0.0


class OutOfMemoryError(RuntimeError):
    pass


class Event:
    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        global clock
        clock += 1.0
        self.time = clock

    def elapsed_time(self, other):
        return other.time - self.time


def is_available():
    return True


def get_device_name(index):
    return "Stand-in"


def get_device_properties(index):
    return SimpleNamespace(L2_cache_size=4 << 20)


def get_device_capability():
    return 9, 0


def current_stream():
    return SimpleNamespace(cuda_stream=0)


def synchronize():
    pass


def empty_cache():
    pass


def _sleep(cycles):
    assert cycles > 0
