"""Makes recorded trajectories of optimizers: the files of this folder.

    python3 make.py FOLDER          small tensors, 30 steps: what lies here
    python3 make.py FOLDER --full   the tensors of the folder `optimizers`, with a larger matrix beside them, 60 steps
    python3 make.py --check FOLDER  replays a folder of recorded trajectories with the equations, as far as there are any

It needs PyTorch 2.6 (Debian 13: python3-torch). SGD, Adam, AdamW and PyTorch's Adafactor are torch.optim's own; everything else is an
independent float64 implementation of the equations (twins.py, twins2.py). Each case of index.json names its source. The format is that of the
folder `optimizers`: its index.json explains names and the hash that makes parameters and gradients.
"""

import hashlib
import json
import math
import os
import struct
import sys
import torch
import twins2
from cases import CASES
from cases2 import CASES2
from twins import TWINS, Projection

torch.set_num_threads(1)
TWINS = TWINS | twins2.TWINS
TORCH = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "adafactor_torch": torch.optim.Adafactor}
SHAPES = {
    "wide": (8, 24), "tall": (24, 8), "square": (16, 16), "large": (96, 64), "vec": (32,), "scalar": (1,), "cube": (4, 6, 5),
    "dot": (1, 1), "row": (1, 7), "column": (5, 1), "kernel": (3, 2, 4, 5), "number": (),
}
SMALL = {
    "wide": (5, 9), "tall": (9, 5), "square": (6, 6), "large": (17, 11), "vec": (11,), "scalar": (1,), "cube": (2, 5, 3),
    "dot": (1, 1), "row": (1, 7), "column": (5, 1), "kernel": (3, 2, 2, 2), "number": (),
}
INDEX = {name: i for i, name in enumerate(SHAPES)}
INDEX |= {"wide": 0, "tall": 1, "square": 2, "large": 3, "vec": 4, "scalar": 5, "cube": 6}
M32 = 0xFFFFFFFF


def hash24(seed, step, i):
    x = (seed * 0x9E3779B1 + step * 0x85EBCA77) & M32
    x = (x + i * 0xC2B2AE3D) & M32
    x = ((x ^ x >> 16) * 0x7FEB352D) & M32
    x = ((x ^ x >> 15) * 0x846CA68B) & M32
    return (x ^ x >> 16) >> 8


class Source:
    """What a case starts from: parameters and gradients by the hash."""

    def __init__(self, shape, seed, init="hash", zero=(), huge=()):
        self.shape, self.seed, self.init, self.zero, self.huge = tuple(shape), seed, init, zero, huge
        self.i = torch.arange(math.prod(self.shape), dtype=torch.int64)
        self.rows = 2.0 ** -((self.i // self.shape[-1] if len(self.shape) > 1 else self.i * 0) % 3).double()
        self.constant = hash24(seed, 0, self.i)

    def initial(self):
        if self.init == "zeros":
            return torch.zeros(self.shape)
        return ((hash24(self.seed, M32, self.i) - 2**23).double() * 2.0**-24).float().reshape(self.shape)

    def gradient(self, t):
        if t in self.zero:
            return torch.zeros(self.shape)
        v = (self.constant + hash24(self.seed, t, self.i) - 2**24).double() * 2.0**-24 * self.rows
        v = v.float() * 10000 if t in self.huge else (v * 2.0 ** -(3 * t % 5)).float()
        return v.reshape(self.shape)


def sha(x):
    return hashlib.sha256(pack(x)).hexdigest()[:16]


def pack(x):
    values = x.detach().float().reshape(-1).tolist()
    return struct.pack(f"<{len(values)}f", *values)


def rate(case, h, t):
    if h["lr"] is None:
        return None
    return h["lr"] * min(1.0, t / 10) if case["lr_schedule"] == "warmup10" else h["lr"]


def run_torch(case, sources, record):
    kind = TORCH[case["optimizer"]]
    params = {name: torch.nn.Parameter(source.initial()) for name, source in sources.items()}
    groups = [dict({k: tuple(v) if isinstance(v, list) else v for k, v in group["hyper"].items()}, params=[params[n] for n in group["params"]]) for group in case["groups"]]
    optimizer = kind(groups, foreach=False)
    for t in range(1, case["steps"] + 1):
        for name, p in params.items():
            p.grad = sources[name].gradient(t)
        for group, given in zip(optimizer.param_groups, case["groups"]):
            group["lr"] = rate(case, given["hyper"], t)
        optimizer.step()
        record(t, params)
    return {name: {k: v for k, v in optimizer.state[p].items() if v is not None} for name, p in params.items()}, {}, {}, {}


def run_twin(case, sources, record, given=None, expected=None):
    p = {name: source.initial().double() for name, source in sources.items()}
    state = {name: {} for name in sources}
    hyper = {name: group["hyper"] for group in case["groups"] for name in group["params"]}
    generator = torch.Generator().manual_seed(case["seed"])
    projections = {
        name: Projection(source.shape, hyper[name], given and (lambda k, full, name=name: given(name, k, full)), generator)
        for name, source in sources.items() if "rank" in hyper[name]
    }
    dtype = torch.bfloat16 if str(case["newton_schulz_dtype"]).startswith("bf") else torch.float64
    made, refreshes, shared = {}, {}, {}

    def random(key, make):
        made[key] = (expected[key] if expected else make()).float().double()
        return made[key]

    for t in range(1, case["steps"] + 1):
        g = {name: source.gradient(t).double() for name, source in sources.items()}
        context = dict(case["instance_options"], shared=shared, random=random, generator=generator, norm=math.sqrt(sum(x.square().sum().item() for x in g.values())), dtype=dtype)
        if case["optimizer"] in twins2.FIRST:
            twins2.FIRST[case["optimizer"]](p, g, state, hyper, t, {name: rate(case, h, t) for name, h in hyper.items()}, context)
        for name in p:
            context |= {"projection": projections.get(name), "name": name, "refresh": refreshes.setdefault(name, []).append}
            p[name] = TWINS[case["optimizer"]](p[name], g[name], state[name], hyper[name], t, rate(case, hyper[name], t), context)
        record(t, p)
    state = {name: {k: v for k, v in entries.items() if not k.startswith("_")} for name, entries in state.items()}
    return state, projections, made, {name: steps for name, steps in refreshes.items() if steps}


def run(case, sources, given=None, expected=None):
    """All tensors of a case, its projections' steps and its final scalars."""
    tensors, scalars = {}, {}

    def record(t, params):
        if t in case["recorded_steps"]:
            tensors.update({f"param.{name}.step{t}": p.detach().clone() for name, p in params.items()})

    runs_torch = case["optimizer"] not in TWINS
    state, projections, made, refreshes = run_torch(case, sources, record) if runs_torch else run_twin(case, sources, record, given, expected)
    tensors |= made
    for name, entries in state.items():
        scalars[name] = {k: float(v) for k, v in entries.items() if isinstance(v, float) or k == "step"}
        tensors.update({f"state.{name}.{k}": v for k, v in entries.items() if k not in scalars[name]})
    for name, projection in projections.items():
        for k, basis in enumerate(projection.made):
            tensors.update({f"proj.{name}.{k}" + end: x for end, x in zip((".A", ".B") if projection.full else ("",), basis)})
        tensors.update({f"svals.{name}.{k}": x for k, x in enumerate(projection.singular)})
    return tensors, refreshes | {name: projection.refreshes for name, projection in projections.items()}, scalars


def write_safetensors(path, tensors):
    header, position = {}, 0
    for name, x in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(x.shape), "data_offsets": [position, position + 4 * x.numel()]}
        position += 4 * x.numel()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(pack(x) for x in tensors.values()))


def read_safetensors(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    header.pop("__metadata__", None)
    return {name: torch.frombuffer(bytearray(data[slice(*x["data_offsets"])]), dtype=torch.float32).reshape(x["shape"]) for name, x in header.items()}


def chosen(params, full):
    """A larger matrix beside a tall one; or, to save space, fewer of those that tell little more than others."""
    if full:
        return params + ["large"] * ("tall" in params)
    return ["vec"] if params == ["vec", "scalar"] else [p for p in params if p != "square" or "cube" not in params]


def recorded_seeds():
    """The seeds of the cases that lie here, so that a new case changes none of them; it takes the next number."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "index.json"), encoding="utf-8") as file:
        return {(case["optimizer"], case["case"]): case["seed"] for case in json.load(file)["cases"]}


def make(folder, full):
    os.makedirs(folder, exist_ok=True)
    shapes, steps, recorded = (SHAPES, 60, [1, 2, 10, 60]) if full else (SMALL, 30, [1, 30])
    index = []
    seeds = recorded_seeds()
    for optimizer, name, settings in [*CASES, *CASES2]:
        seed = seeds.setdefault((optimizer, name), max(seeds.values()) + 1)
        case = {
            "file": f"{optimizer}__{name}.safetensors", "optimizer": optimizer, "case": name,
            "source": "independent float64 implementation of the equations" if optimizer in TWINS else f"torch.optim.{TORCH[optimizer].__name__} (torch {torch.__version__.split('+')[0]})",
            "seed": seed, "init": settings.get("init", "hash"),
            "gradient": {"zero_steps": settings.get("zero", []), "huge_steps": settings.get("huge", [])},
            "lr_schedule": settings.get("schedule", "constant"), "steps": steps, "recorded_steps": recorded,
            "instance_options": settings.get("instance", {}),
            "groups": [dict(group, params=chosen(group["params"], full)) for group in settings["groups"]],
        }
        case["newton_schulz_dtype"] = settings.get("dtype")
        names = [p for group in case["groups"] for p in group["params"]]
        sources = {p: Source(shapes[p], seed * 64 + INDEX[p], case["init"], case["gradient"]["zero_steps"], case["gradient"]["huge_steps"]) for p in names}
        tensors, refreshes, scalars = run(case, sources)
        if not full:
            tensors = {k: x for k, x in tensors.items() if not k.startswith("svals.")}
        if not all(torch.isfinite(x).all() for x in tensors.values()):
            raise SystemExit(f"{optimizer}/{name}: not finite")
        case["params"] = {
            p: {"shape": list(x.shape), "index": INDEX[p], "seed": x.seed, "init_sha": sha(x.initial()), "grad_sha": {str(t): sha(x.gradient(t)) for t in recorded}}
            for p, x in sources.items()
        }
        case |= {"refresh_steps": refreshes, "final_scalars": scalars}
        if full:
            case["tensors"] = {k: {"shape": list(x.shape), "max_abs": x.abs().max().item()} for k, x in tensors.items()}
        write_safetensors(os.path.join(folder, case["file"]), tensors)
        index.append(case)
    with open(os.path.join(folder, "index.json"), "w", encoding="utf-8") as file:
        lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in index)
        file.write('{"format":1,"torch":"2.6.0","conventions":{"see":"../optimizers/index.json","made by":"make.py"},"cases":[\n' + lines + "\n]}\n")
    print(f"{len(index)} cases, {sum(os.path.getsize(os.path.join(folder, x)) for x in os.listdir(folder))} bytes")


def check(folder):
    """The worst errors of each recorded case: of M, and of the movement less the rounding that is allowed."""
    bad = 0
    with open(os.path.join(folder, "index.json"), encoding="utf-8") as file:
        cases = json.load(file)["cases"]
    for case in cases:
        by_name = any("name" in group["hyper"] for group in case["groups"])
        if by_name or (case["optimizer"] not in TWINS and case["optimizer"] not in TORCH):
            print(f"-    {case['optimizer']}/{case['case']}")
            continue
        expected = read_safetensors(os.path.join(folder, case["file"]))
        sources = {p: Source(x["shape"], x["seed"], case["init"], case["gradient"]["zero_steps"], case["gradient"]["huge_steps"]) for p, x in case["params"].items()}
        assert all(sha(x.initial()) == case["params"][p]["init_sha"] for p, x in sources.items())
        assert all(sha(x.gradient(int(t))) == s for p, x in sources.items() for t, s in case["params"][p]["grad_sha"].items())

        def given(name, k, full):
            ends = (".A", ".B") if full else ("",)
            return [expected[f"proj.{name}.{k}" + end].double() for end in ends]

        actual, _, _ = run(case, sources, given, expected)
        value = movement = state = 0.0
        loosest = 0.1 if str(case["newton_schulz_dtype"]).startswith("bf") else 1e-3 if any(group["hyper"].get("proj_type") == "full" for group in case["groups"]) else 1e-4
        for p, source in sources.items():
            start = source.initial()
            largest = max([start.abs().max().item()] + [expected[f"param.{p}.step{t}"].abs().max().item() for t in case["recorded_steps"]])
            for t in case["recorded_steps"]:
                gold = expected[f"param.{p}.step{t}"].double()
                error, moved = (actual[f"param.{p}.step{t}"] - gold).abs().max().item(), (gold - start).abs().max().item()
                value = max(value, error / (largest or 1))
                movement = max(movement, max(0.0, error - (t + 4) * 2.0**-25 * largest) / (moved or 1))
        for k, gold in expected.items():
            if k.startswith("state."):
                error = (actual[k].reshape(gold.shape) - gold).abs().max().item() / (gold.abs().max().item() or 1)
                # The reference computes Dion's basis in f32, which loses digits: up to 2.1e-3.
                state = max(state, error / 50 if k.endswith(".Q") and case["optimizer"].startswith("dion") else error)
        agrees = value <= (math.inf if loosest == 0.1 else 1e-5) and movement <= loosest and state <= 1e-4
        bad += not agrees
        print(f"{'ok  ' if agrees else 'MISS'} {case['optimizer']}/{case['case']:20} {value:.1e} of M, {movement:.1e} of movement, {state:.1e} of states")
    print(f"{len(cases) - bad} of {len(cases)}")


if __name__ == "__main__":
    if sys.argv[1] == "--check":
        check(sys.argv[2])
    else:
        make(sys.argv[1], "--full" in sys.argv)
