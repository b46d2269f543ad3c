"""FlashAttention-4's, with a wrong result. SPDX-License-Identifier: Apache-2.0"""
import torch


def flash_attn_func(q, k, v, causal=False):
    return torch.Tensor(q.shape, torch.bfloat16, value=0.0)
