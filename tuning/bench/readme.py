#!/usr/bin/env python3
"""Rewrites the tables of README.md from the records in tuning/bench/*.json, between `<!-- bench:NAME -->` and `<!-- /bench -->`.

usage: readme.py [--check]     --check: exit status 1 if README.md differs from its records
"""
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BENCH = ROOT / "tuning" / "bench"


def speed(dim, causal):
    """TOPS by sequence length: one row per contender, one column per length."""
    record = json.loads((BENCH / "h100.json").read_text())
    cases = [c for c in record["cases"] if c["head_dim"] == dim and c["causal"] == causal and (c["heads"] > 4)]
    names = list(cases[0]["tops"])
    lines = ["| TOPS | " + " | ".join(str(c["seq"]) for c in cases) + " |", "|---|" + "---|" * len(cases)]
    for name in sorted(names, key=lambda n: (n.split()[0] not in ("cudnn", "flash_attention_2"), n)):
        lines.append(f"| {name} | " + " | ".join(f"{c['tops'].get(name, 0):.0f}" for c in cases) + " |")
    ratio = [c["tops"].get(f"int8_fp8_d{dim} kernel", 0) / max(v for n, v in c["tops"].items() if "bf16" in n) for c in cases]
    if any(ratio):
        lines.append("| *int8_fp8 kernel / best bf16* | " + " | ".join(f"{r:.2f}" for r in ratio) + " |")
    return "\n".join(lines)


def machine():
    record = json.loads((BENCH / "h100.json").read_text())
    return (f"{record['gpu']}, driver {record['driver']}, NVRTC {record['nvrtc']['version']}, PyTorch {record['torch']}, "
            f"cuDNN {record['cudnn']}, {record['date']}, commit {record['commit']}: `{record['command']}`")


def figures():
    record = json.loads((BENCH / "figures.json").read_text())
    lines = ["| figure | measured | goal |", "|---|---|---|"]
    lines += [f"| {row['name']} | {row['value']} {row['unit']} | {row['goal']} |" for row in record["figures"]]
    return "\n".join(lines) + f"\n\n{record['machine']}: `{record['command']}`"


def verified():
    record = json.loads((BENCH / "verify_h100.json").read_text())
    lines = ["| checks | passed | failed | |", "|---|---|---|---|"]
    lines += [f"| {row['what']} | {row['passed']} | {row['failed']} | `{row['command']}` |" for row in record["runs"]]
    return "\n".join(lines) + f"\n\n{record['machine']}"


TABLES = {"machine": machine, "figures": figures, "verified": verified,
          "d128": lambda: speed(128, False), "d128_causal": lambda: speed(128, True),
          "d64": lambda: speed(64, False), "d64_causal": lambda: speed(64, True)}


def main():
    path = ROOT / "README.md"
    text = path.read_text()
    new = re.sub(r"<!-- bench:(\w+) -->\n.*?<!-- /bench -->",
                 lambda m: f"<!-- bench:{m[1]} -->\n{TABLES[m[1]]()}\n<!-- /bench -->", text, flags=re.S)
    if "--check" in sys.argv:
        sys.exit(0 if new == text else "README.md differs from tuning/bench/*.json: run tuning/bench/readme.py")
    path.write_text(new)


if __name__ == "__main__":
    main()
