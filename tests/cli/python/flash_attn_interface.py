"""FlashAttention-3's. SPDX-License-Identifier: Apache-2.0"""
import torch


def flash_attn_func(q, k, v, softmax_scale=None, causal=False, qv=None, q_descale=None, k_descale=None, v_descale=None):
    batch, _, heads, _ = q.shape
    if q.dtype == torch.float8_e4m3fn:
        assert q_descale.shape == k_descale.shape == v_descale.shape == (batch, heads)
    return torch.Tensor(q.shape, torch.bfloat16), None
