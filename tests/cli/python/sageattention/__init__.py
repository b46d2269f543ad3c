from .core import sageattn, sageattn_qk_int8_pv_fp8_cuda_sm90  # noqa: F401
