"""README.md of ptx_truth: tables of what it measured.

    ptx_truth --replay DUMP... --cuda ../cuda --json truth.json --structure truth.structure
    python3 table.py truth.json truth.structure ../../../runtime/ptxvm/accumulate.h > README.md

SPDX-License-Identifier: Apache-2.0
"""
import json
import re
import sys

INTRO = """# The machine beside an H100

Made by `table.py` (its head says how); not to be edited. Every case ran on an NVIDIA H100 80GB HBM3 (driver
580.159.04) and on the virtual machine. `h100.json` is the GPU's record, which the tests `ptxvm_truth_*` compare with: a
hash of every output, and words of those that need not be equal bit for bit.

"Equal" is the share of elements that are the same bits. Where PTX ISA gives a bound instead of a value (`.approx`,
`.full`) the machine rounds the true value once, and "worst" is the largest distance in the bound's unit.
"""

SOURCES = {80: "literature", 89: "literature", 90: "measured", 100: "literature"}


def read_cases(path):
    data = json.load(open(path))
    return data if isinstance(data, list) else [case for cases in data.values() for case in cases]


def share(cases):
    elements = sum(case["elements"] for case in cases)
    equal = sum(case["equal"] for case in cases)
    return elements, "all" if equal == elements else f"{100 * equal / elements:.3f} %"


def groups(cases):
    print("\n## Groups\n\n| group | cases | pass | known | fail | elements | equal |\n|---|--:|--:|--:|--:|--:|--:|")
    for group in list(dict.fromkeys(case["group"] for case in cases)) + [None]:
        mine = [case for case in cases if group in (None, case["group"])]
        counts = [sum(case["verdict"] in verdicts for case in mine)
                  for verdicts in (("pass",), ("known",), ("FAIL", "missing", "unsupported"))]
        elements, equal = share(mine)
        print("|", " | ".join(map(str, [group or "all", len(mine), *counts, elements, equal])), "|")


def differing(cases):
    print("\n## Cases that are not equal bit for bit\n\n| case | bound | worst | elements | equal |\n|---|---|--:|--:|--:|")
    for case in cases:
        if case["equal"] == case["elements"]:
            continue
        worst = case["detail"] if case["verdict"] == "known" else f"{case['worst']:.3g}"
        name = case["name"].split(":")[0]
        print("|", " | ".join(map(str, [name, case["mode"], worst, *share([case])])), "|")


def models(path):
    print("\n## Accumulation in the machine (accumulate.h)\n")
    print("| products | from sm | chunk | bits | rounded to f32 at | source |\n|---|--:|--:|--:|--:|---|")
    pattern = r"X\((\w+), (\d+), (\d+), (\d+), (\d+), (\w+)\)"
    for name, sm, chunk, bits, mantissa, unpacked in re.findall(pattern, open(path).read()):
        if unpacked == "true":
            chunk = "k / 2, C last"
        print("|", " | ".join([name.lower(), sm, chunk, bits, mantissa + " bits", SOURCES[int(sm)]]), "|")
    print("""
Chunk: products summed at once; bits: binary places kept below the largest exponent, the rest cut off toward zero.
A sum becomes f32 toward zero at so many mantissa bits, f16 to nearest even. `fp8` of sm 90 (mma.sync): two chunks of
f16 products (the low and the high pair of every four along k), then C, added to nearest even. Literature: the sources
that accumulate.h names.""")


def probes(path):
    print("\n## What the structure probes found on the H100\n")
    print("| product | chunk | bits | mantissa | addend kept | machine |\n|---|--:|--:|--:|--:|---|")
    pattern = r"structure\.(\S+) \[(gpu|machine)\]: chunk (\d+), bits (\d+),.*mantissa (\d+), addend kept (\d+)"
    found = {}
    for name, who, *values in re.findall(pattern, open(path).read()):
        found.setdefault(name, {})[who] = values
    for name, values in found.items():
        same = "same" if values["gpu"] == values["machine"] else "differs"
        print("|", " | ".join([name, *values["gpu"], same]), "|")


def main():
    truth, structure, accumulate = sys.argv[1:]
    cases = read_cases(truth)
    print(INTRO.rstrip("\n"))
    groups(cases)
    differing(cases)
    models(accumulate)
    probes(structure)


main()
