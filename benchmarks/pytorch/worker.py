"""PyTorch's side of the comparisons: training steps with fused AdamW, and optimizers alone.

Speaks the workers' protocol: says what it is, then answers each line "COUNT CASE" with COUNT times in milliseconds.
Usage: worker.py char|gpt2|llama|optim [fused|foreach|restated]; restated takes the optimizers of restated.py.
"""

import random
import sys
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

import restated

THREADS = 2
SLOW = ("galore-refresh", "muon")


@dataclass
class Recipe:
    """The model and its training, as in Recipe.cs."""

    vocabulary: int
    positions: int
    layers: int
    heads: int
    channels: int
    batch: int
    length: int
    beta2: float
    rate: float
    clip: float | None
    inner: int | None = None  # LLaMA's feed-forward width; None: a GPT


RECIPES = {
    "char": Recipe(65, 64, 4, 4, 128, 12, 64, 0.99, 1e-3, 1.0),
    "gpt2": Recipe(50257, 1024, 12, 12, 768, 4, 64, 0.999, 1e-4, None),
    "gpt2-1024": Recipe(50257, 1024, 12, 12, 768, 1, 1024, 0.999, 1e-4, None),
    "llama-60m": Recipe(32000, 1024, 8, 8, 512, 2, 256, 0.999, 1e-3, 1.0, 1376),
}


class Block(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(channels)
        self.attention_input = nn.Linear(channels, 3 * channels)
        self.attention_output = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)
        self.input = nn.Linear(channels, 4 * channels)
        self.output = nn.Linear(4 * channels, channels)

    def forward(self, x):
        batch, length, channels = x.shape
        parts = self.attention_input(self.attention_norm(x)).split(channels, dim=2)
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attention_output(mixed.transpose(1, 2).reshape(batch, length, channels))
        return x + self.output(F.gelu(self.input(self.norm(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, recipe):
        super().__init__()
        self.tokens = nn.Embedding(recipe.vocabulary, recipe.channels)
        self.positions = nn.Embedding(recipe.positions, recipe.channels)
        self.blocks = nn.ModuleList(Block(recipe.channels, recipe.heads) for _ in range(recipe.layers))
        self.norm = nn.LayerNorm(recipe.channels)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens, targets):
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.tokens.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


class LlamaBlock(nn.Module):
    def __init__(self, channels, heads, inner):
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.RMSNorm(channels, eps=1e-6)
        self.attention_input = nn.Linear(channels, 3 * channels, bias=False)
        self.attention_output = nn.Linear(channels, channels, bias=False)
        self.norm = nn.RMSNorm(channels, eps=1e-6)
        self.gate = nn.Linear(channels, inner, bias=False)
        self.up = nn.Linear(channels, inner, bias=False)
        self.down = nn.Linear(inner, channels, bias=False)

    def forward(self, x, cos, sin):
        batch, length, channels = x.shape
        parts = self.attention_input(self.attention_norm(x)).split(channels, dim=2)
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True)
        x = x + self.attention_output(mixed.transpose(1, 2).reshape(batch, length, channels))
        h = self.norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-b, a), dim=-1) * sin


class Llama(nn.Module):
    def __init__(self, recipe):
        super().__init__()
        self.tokens = nn.Embedding(recipe.vocabulary, recipe.channels)
        self.blocks = nn.ModuleList(LlamaBlock(recipe.channels, recipe.heads, recipe.inner) for _ in range(recipe.layers))
        self.norm = nn.RMSNorm(recipe.channels, eps=1e-6)
        self.head = nn.Linear(recipe.channels, recipe.vocabulary, bias=False)
        size = recipe.channels // recipe.heads
        frequencies = 10000.0 ** (-torch.arange(0, size, 2) / size)
        angles = torch.outer(torch.arange(recipe.positions), frequencies).repeat(1, 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens, targets):
        x = self.tokens(tokens)
        cos, sin = self.cos[: tokens.shape[1]], self.sin[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x, cos, sin)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def optimizer(model, recipe, kind):
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, recipe.beta2), **{kind: True})


def training(recipe, kind):
    model = Llama(recipe) if recipe.inner else Gpt(recipe)
    adamw = optimizer(model, recipe, kind)

    def step():
        text = [[random.randrange(recipe.vocabulary) for _ in range(recipe.length + 1)] for _ in range(recipe.batch)]
        tokens = torch.tensor(text)
        adamw.zero_grad(set_to_none=True)
        loss = model(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
        loss.backward()
        if recipe.clip:
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        adamw.step()
        loss.item()

    return step


def optimizer_step(model, case, kind):
    """A step of an optimizer over a model whose gradients are there."""
    if kind == "restated":
        return restated.create(case, list(model.named_parameters())).step
    parameters = model.parameters()
    if case == "adam":
        return torch.optim.Adam(parameters, lr=1e-4, **{kind: True}).step
    if case == "sgd":
        return torch.optim.SGD(parameters, lr=1e-4, momentum=0.9, weight_decay=0.1, **{kind: True}).step
    if case == "adafactor":
        return torch.optim.Adafactor(parameters, lr=1e-4, weight_decay=0.1).step
    return optimizer(model, RECIPES["gpt2"], kind).step


def main():
    task = sys.argv[1]
    kind = sys.argv[2] if len(sys.argv) > 2 else "fused"
    torch.manual_seed(1)
    torch.set_num_threads(THREADS)
    print(f"PyTorch {torch.__version__}, {'restated equations' if kind == 'restated' else kind + ' optimizers'}", flush=True)
    model, steps = None, {}
    for line in sys.stdin:
        count, case = line.split()
        if case not in steps:
            steps.clear()  # the state of the last optimizer goes before the next one's comes
            if task == "optim":
                if model is None:
                    model = Gpt(RECIPES["gpt2"])
                    for parameter in model.parameters():
                        parameter.grad = torch.randn_like(parameter) * 1e-3
                steps[case] = optimizer_step(model, case, kind)
            else:
                steps[case] = training(RECIPES[case], kind)
            for _ in range(1 if case in SLOW else 3):
                steps[case]()
        if case not in ("gpt2", "gpt2-1024", "llama-60m") and case not in SLOW:
            steps[case]()
        times = []
        for _ in range(int(count)):
            start = time.perf_counter()
            steps[case]()
            times.append((time.perf_counter() - start) * 1e3)
        print(*times, flush=True)


if __name__ == "__main__":
    main()
