"""PyTorch on a CUDA GPU at the work of `ILGpuOptim.Benchmarks device cuda`: products, attention, products of few rows, GPT-2 124M's steps and optimizers.

Usage: gpu.py [products] [attention] [rows] [train] [optimizers] [--tf32 | --bf16]. Products are f32; with --tf32 they use tensor cores with 10-bit factors, with --bf16
matrices are stored in bf16 and steps use autocast. Products of few rows run in f32 and bf16.
"""

import statistics
import sys
import time

import torch

from worker import Gpt, Recipe

SHAPES = [
    (512, 512, 512, "NN"), (1024, 1024, 1024, "NN"), (4096, 4096, 4096, "NN"), (8192, 8192, 8192, "NN"),
    (8192, 2304, 768, "NT"), (8192, 768, 768, "NT"), (8192, 3072, 768, "NT"), (8192, 768, 3072, "NT"), (8192, 50257, 768, "NT"),
    (8192, 768, 2304, "NN"), (8192, 3072, 768, "NN"), (8192, 768, 50257, "NN"),
    (2304, 768, 8192, "TN"), (3072, 768, 8192, "TN"), (50257, 768, 8192, "TN"), (768, 128, 768, "TN"),
    (768, 384, 128, "NT"), (128, 128, 768, "TN"), (1, 768, 50257, "NT"),
]

FEW_ROWS = [
    (1, 2304, 768, "NN"), (1, 3072, 768, "NN"), (1, 768, 3072, "NN"), (1, 50257, 768, "NT"),
    (1, 4096, 4096, "NT"), (1, 11008, 4096, "NT"), (1, 4096, 11008, "NT"), (4, 11008, 4096, "NT"), (8, 11008, 4096, "NT"),
]
ATTENTIONS = [(8, 12, 1024, 64), (1, 32, 2048, 128)]
PRECISION = "bf16" if "--bf16" in sys.argv else "tf32" if "--tf32" in sys.argv else "f32"
STORAGE = torch.bfloat16 if PRECISION == "bf16" else torch.float32


def median(run, count, group=1):
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    times = []
    for _ in range(count):
        start = time.perf_counter()
        for _ in range(group):
            run()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / group)
    return statistics.median(times)


def factors(m, n, k, form, dtype):
    a = torch.randn((k, m) if form[0] == "T" else (m, k), device="cuda").to(dtype)
    b = torch.randn((n, k) if form[1] == "T" else (k, n), device="cuda").to(dtype)
    return (a.T if form[0] == "T" else a), (b.T if form[1] == "T" else b), torch.empty(m, n, device="cuda", dtype=dtype)


def products():
    for m, n, k, form in SHAPES:
        a, b, c = factors(m, n, k, form, STORAGE)
        seconds = median(lambda: torch.mm(a, b, out=c), 10, 20 if 2 * m * n * k < 1e10 else 3)
        print(f"{m:6} x {n:5} x {k:5} {form} {seconds * 1e6:10.1f} us {2 * m * n * k / seconds * 1e-9:9.0f} GFLOP/s", flush=True)


def attention():
    for batch, heads, length, size in ATTENTIONS:
        q, k, v, gradient = (torch.randn(batch, heads, length, size, device="cuda", dtype=STORAGE) for _ in range(4))
        for x in (q, k, v):
            x.requires_grad_()

        def forward():
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

        output = forward()
        product = 2 * batch * heads * size * length * (length + 1) / 2
        for name, count, run in (("forward", 2, forward), ("backward", 5, lambda: torch.autograd.grad(output, (q, k, v), gradient, retain_graph=True))):
            seconds = median(run, 20, 20)
            print(f"{name:8} {batch} x {length} tokens, {heads} heads of {size} {seconds * 1e6:10.1f} us {count * product / seconds * 1e-12:9.2f} TFLOP/s", flush=True)


def rows():
    for name, dtype, size in (("F32", torch.float32, 4), ("BF16", torch.bfloat16, 2)):
        for m, n, k, form in FEW_ROWS:
            a, b, c = factors(m, n, k, form, dtype)
            seconds = median(lambda: torch.mm(a, b, out=c), 20, 50)
            print(f"{m:6} x {n:5} x {k:5} {form} {name:4} {seconds * 1e6:10.1f} us {n * k * size / seconds * 1e-9:9.0f} GB/s", flush=True)


def train():
    for name, batch, length in (("char", 12, 64), ("gpt2", 8, 1024)):
        recipe = (
            Recipe(65, 64, 4, 4, 128, batch, length, 0.99, 1e-3, 1.0) if name == "char"
            else Recipe(50257, 1024, 12, 12, 768, batch, length, 0.999, 1e-3, 1.0)
        )
        torch.set_default_device("cuda")
        model = Gpt(recipe)
        adamw = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

        def step():
            text = torch.randint(recipe.vocabulary, (2, batch, length), device="cpu").cuda()
            adamw.zero_grad(set_to_none=True)
            with torch.autocast("cuda", torch.bfloat16, enabled=PRECISION == "bf16"):
                loss = model(text[0], text[1])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            adamw.step()
            loss.item()

        seconds = median(step, 20)
        print(f"{name} {batch} x {length}, fused AdamW, {PRECISION}: {seconds * 1e3:.2f} ms a step, {batch * length / seconds:.0f} tokens/s", flush=True)


def optimizers():
    torch.set_default_device("cuda")
    model = Gpt(Recipe(50257, 1024, 12, 12, 768, 8, 1024, 0.999, 1e-3, 1.0))
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter) * 1e-3
    choices = {
        "sgd fused": lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9, fused=True),
        "adamw fused": lambda p: torch.optim.AdamW(p, lr=1e-3, fused=True),
        "adamw foreach": lambda p: torch.optim.AdamW(p, lr=1e-3, foreach=True),
        "adafactor": lambda p: torch.optim.Adafactor(p, lr=1e-3),
    }
    for name, create in choices.items():
        print(f"{name:14} {median(create(list(model.parameters())).step, 20) * 1e3:9.3f} ms", flush=True)


def main():
    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_tf32 = PRECISION != "f32"
    print(f"PyTorch {torch.__version__}, {torch.cuda.get_device_name()}, {PRECISION}", flush=True)
    tasks = {"products": products, "attention": attention, "rows": rows, "train": train, "optimizers": optimizers}
    for name, task in tasks.items():
        if name in sys.argv or not set(tasks) & set(sys.argv):
            task()


main()
