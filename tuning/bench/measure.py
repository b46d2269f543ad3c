"""Times libsage's attention beside what of cuDNN, FlashAttention and sageattention this Python has. Part of `sagegen bench`.

usage: measure.py REQUEST.json     started by `sagegen bench`, which holds this file; answers with one JSON object a line on stdout

A request has the problems, the contenders and modes wanted, the specs by head dim, the path of libsage, the folder of its kernels. Answers:
  {"event": "cannot", "reason"}                 there is no PyTorch, or no GPU for it
  {"event": "start", "gpu", "found": {contender: version}, "missing": {contender: reason}}
  {"event": "doing", "problem", "contender", "kernel"}     before the first call of each; "contender": "" before the timing
  {"event": "row", "problem", "contender", "kernel", "mode", "ms", "spread", "repeats", ...} or with a "reason" instead of times
  {"event": "done", "problem"}
  {"event": "broken", "reason"}                 a call left the GPU unusable; the process ends
  {"event": "end"}

How: one process; random bf16 inputs, in several sets where one would fit the L2 cache; every contender's output is first compared with
sagegen's; then the calls take turns, CUDA events around each, at least 20 times or 0.25 s, the median counts. Calls shorter than 2 ms are
started behind a pause of the GPU that is longer than the call takes the host, so that no gap between launches is counted.
"""
# SPDX-License-Identifier: Apache-2.0
import ctypes
import importlib
import importlib.metadata
import json
import math
import os
import statistics
import sys
import time

CHANNEL = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # what libraries print is no answer

REPEATS, BUDGET_MS, LEAST_REPEATS, SETS_MOST = 20, 250.0, 2, 8
SHORT_MS = 2.0
LOOSE = 0.3  # relative L2 distance between two attentions of 8 bits; a broken call is near 1 or above
PEERS = "attention_forward"


def tell(event, **fields):
    CHANNEL.write(json.dumps({"event": event, **fields}) + "\n")


class Refused(Exception):
    """A contender that is not timed, with the reason."""


def reason_of(error):
    if isinstance(error, Refused):
        return str(error)
    if type(error).__name__ == "OutOfMemoryError":
        return "out of GPU memory"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:300]


try:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention
except Exception as cause:
    tell("cannot", reason=f"no PyTorch: {reason_of(cause)}")
    sys.exit(0)


# -- Inputs ---------------------------------------------------------------------------------------------------------------------------


class Inputs:
    """Sets of Q, K, V in each layout and type that a contender wants, made when first asked for."""

    def __init__(self, problem):
        self.problem = problem
        shape = (problem["batch"], problem["heads"], problem["n"], problem["d"])
        bytes_of_set = 4 * 2 * math.prod(shape)
        l2 = getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 50 << 20)
        self.sets = max(1, min(SETS_MOST, math.ceil(2 * l2 / bytes_of_set)))
        self.hnd = [[torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in range(3)] for _ in range(self.sets)]
        self.made = {}

    def nhd(self):
        """[batch][tokens][heads][dim], contiguous."""
        if "nhd" not in self.made:
            self.made["nhd"] = [[t.transpose(1, 2).contiguous() for t in qkv] for qkv in self.hnd]
        return self.made["nhd"]

    def fp8(self):
        if "fp8" not in self.made:
            self.made["fp8"] = [[t.to(torch.float8_e4m3fn) for t in qkv] for qkv in self.nhd()]
        return self.made["fp8"]


def first_of(output):
    return output[0] if isinstance(output, (tuple, list)) else output


# -- Contenders: calls(inputs, causal) gives {mode: call(set)}, each call's output as [batch][heads][tokens][dim] -----------------------


class Sdpa:
    def __init__(self, backend, version):
        self.backend, self.version = backend, version

    def calls(self, inputs, causal):
        def call(i):
            with sdpa_kernel(self.backend):
                return scaled_dot_product_attention(*inputs.hnd[i], is_causal=causal)

        return {"kernel": call, "end_to_end": call}


class Flash:
    """FlashAttention-3 or -4 in bf16: inputs [batch][tokens][heads][dim]."""

    def __init__(self, function, version):
        self.function, self.version = function, version

    def calls(self, inputs, causal):
        nhd = inputs.nhd()

        def call(i):
            return first_of(self.function(*nhd[i], causal=causal)).transpose(1, 2)

        return {"kernel": call, "end_to_end": call}


class FlashFp8:
    """FlashAttention-3 in e4m3. End to end: Q, K and V are cast without a search for a scale, the least a caller has to do."""

    def __init__(self, function, version):
        self.function, self.version = function, version

    def calls(self, inputs, causal):
        fp8, nhd = inputs.fp8(), inputs.nhd()
        batch, _, heads, _ = nhd[0][0].shape
        one = torch.ones(batch, heads, device="cuda", dtype=torch.float32)

        def attend(qkv):
            return first_of(self.function(*qkv, causal=causal, q_descale=one, k_descale=one, v_descale=one)).transpose(1, 2)

        return {"kernel": lambda i: attend(fp8[i]), "end_to_end": lambda i: attend([t.to(torch.float8_e4m3fn) for t in nhd[i]])}


class Recorder:
    """Stands in for a function, or a module of functions, and keeps the calls that go through it."""

    def __init__(self, target, calls):
        self.target, self.record = target, calls

    def __getattr__(self, name):
        value = getattr(self.target, name)
        return Recorder(value, self.record) if callable(value) else value

    def __call__(self, *args, **kwargs):
        self.record.append((self.target, args, kwargs))
        return self.target(*args, **kwargs)


class SageAttention:
    """The sageattention package; its kernel alone is the one call of its attention operator, repeated with the same operands."""

    OPERATORS = ("_qattn_sm80", "_qattn_sm89", "_qattn_sm90", "sm80_compile", "sm89_compile", "sm90_compile", "attn_false", "attn_true")

    def __init__(self, version):
        self.version = version
        package = importlib.import_module("sageattention")
        sm90 = getattr(package, "sageattn_qk_int8_pv_fp8_cuda_sm90", None) if torch.cuda.get_device_capability()[0] == 9 else None
        self.function = sm90 or package.sageattn
        try:
            self.core = importlib.import_module("sageattention.core")
        except ImportError:
            self.core = package

    def kernel(self, call):
        kept, calls = {}, []
        for name in self.OPERATORS:
            if hasattr(self.core, name):
                kept[name] = getattr(self.core, name)
                setattr(self.core, name, Recorder(kept[name], calls))
        try:
            output = call()
        finally:
            for name, value in kept.items():
                setattr(self.core, name, value)
        if len(calls) != 1:
            return None, output
        function, args, kwargs = calls[0]
        return (lambda: function(*args, **kwargs)), output

    def calls(self, inputs, causal):
        def whole(i):
            return self.function(*inputs.hnd[i], tensor_layout="HND", is_causal=causal)

        recorded = [self.kernel(lambda i=i: whole(i)) for i in range(inputs.sets)]
        modes = {"end_to_end": whole}
        if all(replay for replay, _ in recorded):

            def attend(i):
                recorded[i][0]()
                return recorded[i][1]

            modes["kernel"] = attend
        return modes


def version_of(*packages):
    for package in packages:
        try:
            return f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def find_fa3():
    for name in ("flash_attn_interface", "flash_attn_3.flash_attn_interface", "fa3_fwd_interface"):
        try:
            return importlib.import_module(name).flash_attn_func, version_of("flash_attn_3", "flash-attn-3", "fa3-fwd") or name
        except (ImportError, AttributeError, OSError) as error:
            last = error
    raise last


def cudnn_version():
    number = torch.backends.cudnn.version() or 0
    return f"cuDNN {number // 10000}.{number // 100 % 100}.{number % 100}" if number >= 90000 else f"cuDNN {number}"


def find_fa4():
    module = importlib.import_module("flash_attn.cute")
    return Flash(module.flash_attn_func, version_of("flash-attn-4", "flash_attn_4", "flash-attn") or "flash_attn.cute")


FINDERS = {
    "cudnn_bf16": lambda: Sdpa(SDPBackend.CUDNN_ATTENTION, cudnn_version()),
    "fa2_bf16": lambda: Sdpa(SDPBackend.FLASH_ATTENTION, f"PyTorch {torch.__version__}"),
    "fa3_bf16": lambda: Flash(*find_fa3()),
    "fa3_fp8": lambda: FlashFp8(*find_fa3()),
    "fa4_bf16": find_fa4,
    "sageattention": lambda: SageAttention(version_of("sageattention")),
}


# -- sagegen's own: libsage by ctypes, as sage.h declares it ------------------------------------------------------------------------------


class Options(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("device", ctypes.c_int), ("cache_dir", ctypes.c_char_p), ("nvrtc_path", ctypes.c_char_p),
                ("kernel_dir", ctypes.c_char_p), ("memory_only", ctypes.c_int), ("trust_shared_cache", ctypes.c_int),
                ("allocate", ctypes.c_void_p), ("release", ctypes.c_void_p), ("user", ctypes.c_void_p), ("log", ctypes.c_void_p),
                ("log_user", ctypes.c_void_p), ("driver_entry", ctypes.c_void_p)]


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


class Library:
    """A libsage context on the current GPU whose kernels come from kernel_dir alone."""

    def __init__(self, path, version, kernel_dir):
        self.lib = ctypes.CDLL(path)
        if self.lib.sage_version() != version:
            raise Refused(f"{path} is libsage {self.lib.sage_version()}, and this sagegen is {version}")
        self.lib.sage_last_error.restype = ctypes.c_char_p
        self.lib.sage_attention_plan_describe.restype = ctypes.c_char_p
        self.lib.sage_attention_workspace_bytes.restype = ctypes.c_size_t
        self.context = ctypes.c_void_p()
        options = Options(size=ctypes.sizeof(Options), device=0, kernel_dir=kernel_dir.encode(), memory_only=1)
        self.check(self.lib.sage_context_create(ctypes.byref(options), ctypes.byref(self.context)))
        self.plans = {}

    def check(self, status):
        if status:
            raise Refused(self.lib.sage_last_error(self.context).decode(errors="replace"))

    def plan(self, spec, dim, causal):
        if (spec, causal) not in self.plans:
            desc = Desc(size=ctypes.sizeof(Desc), dtype=0, head_dim_qk=dim, mask=int(causal), spec=spec.encode())
            plan = ctypes.c_void_p()
            self.check(self.lib.sage_attention_plan_create(self.context, ctypes.byref(desc), ctypes.byref(plan)))
            self.plans[spec, causal] = plan
        return self.plans[spec, causal]

    def args(self, plan, q, k, v):
        shape = Shape(q.shape[0], q.shape[1], k.shape[1], q.shape[2], k.shape[2])
        need = self.lib.sage_attention_workspace_bytes(plan, ctypes.byref(shape))
        output, workspace = torch.empty_like(q), torch.empty(need, dtype=torch.uint8, device=q.device)
        tensors = [Tensor(t.data_ptr(), t.stride(0), t.stride(1), t.stride(2)) for t in (q, k, v, output)]
        return Args(ctypes.sizeof(Args), shape, *tensors, None, None, workspace.data_ptr(), need), output, workspace

    def call(self, name, plan, args):
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        self.check(getattr(self.lib, "sage_attention_" + name)(plan, ctypes.byref(args), stream))


class Sagegen:
    version = ""

    def __init__(self, library, spec):
        self.library, self.spec = library, spec

    def calls(self, inputs, causal):
        plan = self.library.plan(self.spec, inputs.problem["d"], causal)
        words = self.library.lib.sage_attention_plan_describe(plan).decode().split(" ", 1)
        self.variant = words[1] if len(words) > 1 else ""
        ready = [self.library.args(plan, *qkv) for qkv in inputs.hnd]

        def caller(name):
            def call(i):
                self.library.call(name, plan, ready[i][0])
                return ready[i][1]

            return call

        quantise = caller("quantise")
        for i in range(inputs.sets):
            quantise(i)
        return {"kernel": caller("attend"), "end_to_end": caller("run")}


# -- Checking and timing ------------------------------------------------------------------------------------------------------------------


def sample(output):
    """Some rows of every head, in float32."""
    step = max(1, output.shape[2] // 512)
    return output[:, :, ::step].float()


def distance(sampled, reference):
    return ((sampled - reference).norm() / reference.norm()).item()


class Entry:
    """One call that is timed; modes: those that its times stand for."""

    def __init__(self, contender, kernel, version, variant, modes, call):
        self.contender, self.kernel, self.version, self.variant, self.modes, self.call = contender, kernel, version, variant, modes, call
        self.pairs, self.repeats, self.pause = [], 0, 0

    def once(self, i):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        if self.pause:
            torch.cuda._sleep(self.pause)
        start.record()
        self.call(i)
        stop.record()
        return start, stop

    def warm_up(self):
        """The call has run before. Chooses the repeats, and the pause before each."""
        torch.cuda.synchronize()
        before = time.perf_counter()
        start, stop = self.once(0)
        host_s = time.perf_counter() - before
        torch.cuda.synchronize()
        ms = max(start.elapsed_time(stop), 1e-3)
        self.repeats = REPEATS if REPEATS * ms <= BUDGET_MS else max(LEAST_REPEATS, math.ceil(BUDGET_MS / ms))
        if ms > BUDGET_MS / 5:
            self.pairs.append((start, stop))  # its check has warmed it up
        if ms < SHORT_MS and hasattr(torch.cuda, "_sleep"):
            self.pause = int((1.5 * host_s + 20e-6) * 2e9)
            self.once(0)

    def fields(self):
        times = sorted(a.elapsed_time(b) for a, b in self.pairs)
        middle = statistics.median(times)
        low, _, high = statistics.quantiles(times, n=4, method="inclusive")
        return {"ms": middle, "spread": (high - low) / middle, "repeats": len(times)}


def time_entries(entries, sets):
    for entry in entries:
        entry.warm_up()
    for r in range(max(entry.repeats for entry in entries)):
        for entry in entries:
            if len(entry.pairs) < entry.repeats:
                entry.pairs.append(entry.once(r % sets))
    torch.cuda.synchronize()


class Bench:
    def __init__(self, request):
        self.request, self.found, self.missing = request, {}, {}
        for name in request["contenders"]:
            if name == "sagegen":
                continue
            try:
                self.found[name] = FINDERS[name]()
            except Exception as error:
                self.missing[name] = reason_of(error)
        self.library, self.library_error = None, ""
        if "sagegen" in request["contenders"]:
            try:
                self.library = Library(request["lib"], request["version"], request["kernel_dir"])
            except Exception as error:
                self.library_error = reason_of(error)
                self.missing["sagegen"] = self.library_error

    def start(self):
        tell("start", gpu=torch.cuda.get_device_name(0), found={name: c.version for name, c in self.found.items()}, missing=self.missing)

    def rivals(self, problem):
        """(contender, kernel, object), sagegen first: the others are compared with it."""
        for spec in self.request["specs"]:
            if spec["d"] == problem["d"] and self.library and spec["name"] not in self.request["dropped"]:
                yield "sagegen", spec["name"], Sagegen(self.library, spec["name"])
        for name, contender in self.found.items():
            if name not in self.request["dropped"]:
                yield name, PEERS, contender

    def fail(self, problem, contender, kernel, modes, reason):
        for mode in modes:
            version = getattr(self.found.get(contender), "version", "")
            tell("row", problem=problem["id"], contender=contender, kernel=kernel, mode=mode, version=version, reason=reason)

    def prepare(self, problem, inputs, contender, kernel, rival, reference):
        """The entries of one contender, each called once and compared; returns them and the reference for those that follow."""
        calls = rival.calls(inputs, problem["causal"])
        modes = [mode for mode in self.request["modes"] if mode in calls]
        entries, seen = [], {}
        for mode in modes:
            call = calls[mode]
            if call in seen:
                seen[call].modes.append(mode)
                continue
            output = sample(call(0))
            if not torch.isfinite(output).all():
                raise Refused("not timed: its output holds NaN or infinity")
            if reference is None:
                reference = (kernel if contender == "sagegen" else contender, output)
            elif output.shape != reference[1].shape or not distance(output, reference[1]) < LOOSE:
                raise Refused(f"not timed: its output is not that of {reference[0]} (relative L2 distance above {LOOSE})")
            seen[call] = Entry(contender, kernel, rival.version, getattr(rival, "variant", ""), [mode], call)
            entries.append(seen[call])
        return entries, reference

    def usable(self, problem, error):
        """Whether the GPU still answers after an error; if not, this process cannot go on."""
        try:
            torch.cuda.synchronize()
            if type(error).__name__ == "OutOfMemoryError":
                torch.cuda.empty_cache()
        except Exception:
            tell("broken", problem=problem["id"], reason=reason_of(error))
            CHANNEL.flush()
            os._exit(1)

    def measure(self, problem):
        rivals = list(self.rivals(problem))
        try:
            inputs = Inputs(problem)
        except Exception as error:
            self.usable(problem, error)
            for contender, kernel, _ in rivals:
                self.fail(problem, contender, kernel, self.request["modes"], reason_of(error))
            return
        entries, reference = [], None
        for contender, kernel, rival in rivals:
            tell("doing", problem=problem["id"], contender=contender, kernel=kernel)
            try:
                made, reference = self.prepare(problem, inputs, contender, kernel, rival, reference)
                torch.cuda.synchronize()
                entries += made
            except Exception as error:
                self.usable(problem, error)
                self.fail(problem, contender, kernel, self.request["modes"], reason_of(error))
        tell("doing", problem=problem["id"], contender="", kernel="")
        if not entries:
            return
        try:
            time_entries(entries, inputs.sets)
        except Exception as error:
            self.usable(problem, error)
            for entry in entries:
                self.fail(problem, entry.contender, entry.kernel, entry.modes, reason_of(error))
            return
        for entry in entries:
            fields = entry.fields()
            for mode in entry.modes:
                tell("row", problem=problem["id"], contender=entry.contender, kernel=entry.kernel, mode=mode, version=entry.version,
                     variant=entry.variant, **fields)


def main():
    with open(sys.argv[1]) as file:
        request = json.load(file)
    if not torch.cuda.is_available():
        tell("cannot", reason=f"PyTorch {torch.__version__} of this Python finds no GPU")
        return
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    bench = Bench(request)
    bench.start()
    for problem in request["problems"]:
        bench.measure(problem)
        torch.cuda.empty_cache()
        tell("done", problem=problem["id"])
    tell("end")


if __name__ == "__main__":
    main()
