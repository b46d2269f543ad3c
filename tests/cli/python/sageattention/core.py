"""SPDX-License-Identifier: Apache-2.0"""
import torch


class _qattn_sm90:
    calls = 0

    @classmethod
    def attend(cls, q, output, *, causal):
        cls.calls += 1
        output.value = 1.1


def sageattn(*args, **kwargs):
    raise AssertionError("not for this GPU")


def sageattn_qk_int8_pv_fp8_cuda_sm90(q, k, v, tensor_layout="HND", is_causal=False):
    output = torch.empty_like(q)
    _qattn_sm90.attend(q.to(torch.uint8), output, causal=is_causal)
    return output
