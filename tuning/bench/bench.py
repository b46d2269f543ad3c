#!/usr/bin/env python3
"""Speed of libsage's attention beside PyTorch's cuDNN and FlashAttention-2, in one process, in turn; writes a record.

usage: bench.py [--sagegen build/sagegen] [--lib build/libsage.so] [--out tuning/bench/h100.json] [--quick] [--note TEXT]

Needs a GPU and PyTorch. Kernels come from `sagegen --out` into a temporary folder and are loaded by libsage alone (kernel_dir), as an
application without the generator would. Times are medians of CUDA events around each call; inputs are random bf16, several sets where
one would fit the L2 cache. TOPS = 4 B H N^2 d / time, half of it for causal. "kernel": attend alone; "end to end": bf16 in, bf16 out,
statistics and quantisation counted.
"""
import argparse
import ctypes
import datetime
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention


class Options(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("device", ctypes.c_int), ("cache_dir", ctypes.c_char_p), ("nvrtc_path", ctypes.c_char_p),
                ("kernel_dir", ctypes.c_char_p), ("memory_only", ctypes.c_int), ("trust_shared_cache", ctypes.c_int),
                ("allocate", ctypes.c_void_p), ("release", ctypes.c_void_p), ("user", ctypes.c_void_p), ("log", ctypes.c_void_p),
                ("log_user", ctypes.c_void_p)]


class Desc(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("dtype", ctypes.c_int), ("head_dim_qk", ctypes.c_int), ("head_dim_v", ctypes.c_int),
                ("mask", ctypes.c_int), ("precision", ctypes.c_int), ("spec", ctypes.c_char_p), ("sm_scale", ctypes.c_float),
                ("flags", ctypes.c_uint)]


class Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("stride_batch", ctypes.c_int64), ("stride_head", ctypes.c_int64), ("stride_seq", ctypes.c_int64)]


class Shape(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("batch", "heads_q", "heads_kv", "seq_q", "seq_k")]


class Args(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("shape", Shape), ("q", Tensor), ("k", Tensor), ("v", Tensor), ("o", Tensor),
                ("lse", ctypes.c_void_p), ("overflow_flags", ctypes.c_void_p), ("workspace", ctypes.c_void_p),
                ("workspace_bytes", ctypes.c_size_t)]


class Sage:
    """A libsage context on device 0 whose kernels come from kernel_dir alone."""

    def __init__(self, path, kernel_dir):
        self.lib = ctypes.CDLL(path)
        self.lib.sage_last_error.restype = ctypes.c_char_p
        self.lib.sage_attention_plan_describe.restype = ctypes.c_char_p
        self.lib.sage_attention_workspace_bytes.restype = ctypes.c_size_t
        self.context = ctypes.c_void_p()
        options = Options(size=ctypes.sizeof(Options), device=0, kernel_dir=kernel_dir.encode(), memory_only=1)
        self.check(self.lib.sage_context_create(ctypes.byref(options), ctypes.byref(self.context)))

    def check(self, status):
        if status:
            raise RuntimeError(f"libsage: status {status}: {self.lib.sage_last_error(self.context).decode()}")

    def plan(self, spec, dim, causal):
        desc = Desc(size=ctypes.sizeof(Desc), dtype=0, head_dim_qk=dim, mask=int(causal), spec=spec.encode())
        plan = ctypes.c_void_p()
        self.check(self.lib.sage_attention_plan_create(self.context, ctypes.byref(desc), ctypes.byref(plan)))
        return plan

    def args(self, plan, q, k, v, o):
        shape = Shape(q.shape[0], q.shape[1], k.shape[1], q.shape[2], k.shape[2])
        need = self.lib.sage_attention_workspace_bytes(plan, ctypes.byref(shape))
        workspace = torch.empty(need, dtype=torch.uint8, device=q.device)
        tensors = [Tensor(t.data_ptr(), t.stride(0), t.stride(1), t.stride(2)) for t in (q, k, v, o)]
        args = Args(ctypes.sizeof(Args), shape, *tensors, None, None, workspace.data_ptr(), need)
        return args, workspace

    def call(self, name, plan, args):
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        self.check(getattr(self.lib, "sage_attention_" + name)(plan, ctypes.byref(args), stream))


def median_ms(calls, sets, repeats):
    """Median time of each named call; the calls take turns, and each call walks over the input sets."""
    times = {name: [] for name in calls}
    for name, call in calls.items():
        for i in range(3):
            call(i % sets)
    for r in range(repeats):
        for name, call in calls.items():
            start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            call(r % sets)
            stop.record()
            times[name].append((start, stop))
    torch.cuda.synchronize()
    return {name: statistics.median(a.elapsed_time(b) for a, b in pairs) for name, pairs in times.items()}


def torch_call(backend, inputs, causal):
    def call(i):
        with sdpa_kernel(backend):
            scaled_dot_product_attention(*inputs[i], is_causal=causal)
    return call


def bench_case(sage, specs, batch, heads, seq, dim, causal, repeats):
    bytes_set = 4 * batch * heads * seq * dim * 2
    sets = max(1, min(4, math.ceil(100e6 / bytes_set)))
    inputs = [[torch.randn(batch, heads, seq, dim, device="cuda", dtype=torch.bfloat16) for _ in range(3)] for _ in range(sets)]
    calls, keep = {}, []
    for name, backend in (("cudnn bf16", SDPBackend.CUDNN_ATTENTION), ("flash_attention_2 bf16", SDPBackend.FLASH_ATTENTION)):
        try:
            torch_call(backend, inputs, causal)(0)
            calls[name] = torch_call(backend, inputs, causal)
        except RuntimeError as error:
            print(f"  {name}: {str(error).splitlines()[0]}", file=sys.stderr)
    variants = {}
    for spec in specs:
        plan = sage.plan(spec, dim, causal)
        variants[spec] = sage.lib.sage_attention_plan_describe(plan).decode()
        ready = [sage.args(plan, *qkv, torch.empty_like(qkv[0])) for qkv in inputs]
        keep.append(ready)
        calls[spec + " end to end"] = lambda i, plan=plan, ready=ready: sage.call("run", plan, ready[i][0])
        for args, _ in ready:
            sage.call("quantise", plan, args)
        calls[spec + " kernel"] = lambda i, plan=plan, ready=ready: sage.call("attend", plan, ready[i][0])
        calls[spec + " quantise"] = lambda i, plan=plan, ready=ready: sage.call("quantise", plan, ready[i][0])
    ms = median_ms(calls, sets, repeats)
    work = 4.0 * batch * heads * seq * seq * dim / (2 if causal else 1)
    return {"batch": batch, "heads": heads, "seq": seq, "head_dim": dim, "causal": causal, "input_sets": sets, "repeats": repeats,
            "variants": variants,
            "ms": {name: round(t, 5) for name, t in ms.items()},
            "tops": {name: round(work / t / 1e9, 1) for name, t in ms.items() if not name.endswith("quantise")}}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--sagegen", default="build/sagegen")
    ap.add_argument("--lib", default="build/libsage.so")
    ap.add_argument("--out", default="tuning/bench/h100.json")
    ap.add_argument("--commit", default="")
    ap.add_argument("--note", default="")
    ap.add_argument("--quick", action="store_true")
    args = ap.parse_args()
    major, minor = torch.cuda.get_device_capability()
    arch = f"sm_{major}{minor}" + ("a" if major in (9, 12) else "")
    by_dim = {64: ["int8_fp8_d64", "int8_fp16_d64"], 128: ["int8_fp8_d128", "int8_fp16_d128"], 256: ["int8_fp16_d256"]}
    record = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda,
              "cudnn": torch.backends.cudnn.version(), "date": datetime.date.today().isoformat(), "commit": args.commit, "note": args.note,
              "command": "tuning/bench/bench.py", "cases": []}
    driver = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True)
    record["driver"] = driver.stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        for specs in by_dim.values():
            for spec in specs:
                subprocess.run([args.sagegen, "--spec", spec, "--arch", arch, "--io", "bf16", "--out", folder], check=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        doctor = subprocess.run([args.sagegen, "doctor", "--json"], capture_output=True, text=True)
        record["nvrtc"] = json.loads(doctor.stdout).get("nvrtc", {}) if doctor.stdout else {}
        record["nvrtc"] = {key: record["nvrtc"].get(key) for key in ("version", "build_id")}
        sage = Sage(os.path.abspath(args.lib), folder)
        sizes = [1024, 4096, 8192] if args.quick else [512, 1024, 2048, 4096, 8192, 16384, 32768]
        for dim, specs in by_dim.items():
            for causal in (False, True):
                for seq in sizes:
                    batch, heads = (1, 32 * 128 // max(dim, 128)) if seq > 16384 else (4, 32 * 128 // max(dim, 128))
                    case = bench_case(sage, specs, batch, heads, seq, dim, causal, 20 if seq < 16384 else 7)
                    record["cases"].append(case)
                    print(f"d {dim:3} N {seq:6} {'causal' if causal else 'full  '} TOPS " +
                          "  ".join(f"{name} {tops:.0f}" for name, tops in case["tops"].items()), flush=True)
        case = bench_case(sage, by_dim[128], 1, 4, 4096, 128, False, 20)
        record["cases"].append(case)
    with open(args.out, "w") as file:
        json.dump(record, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
