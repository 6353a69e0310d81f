"""CAME, APOLLO, GaLore and Muon in ordinary torch code, one tensor after the other, as published optimizers are written.

These are our own restatements of the published equations (docs/optimizers.md names the papers), made to be timed beside ours: no code of the authors'
repositories is in them, and their times are not those repositories' times. Elementary operations work in place where that is usual;
nothing is compiled or fused.
"""

import math

import torch

LOW_RANK = ("attention_input", "attention_output", "input", "output")
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-6


class Restated:
    """Steps over every parameter without recording gradients."""

    def __init__(self, named, rate=1e-4, decay=0.1):
        self.named = named
        self.rate = rate
        self.decay = decay
        self.states = {name: {} for name, _ in named}

    @torch.no_grad()
    def step(self):
        for name, parameter in self.named:
            state = self.states[name]
            state["step"] = state.get("step", 0) + 1
            self.update(name, parameter, parameter.grad, state)

    def is_matrix_of_a_layer(self, name, parameter):
        return parameter.dim() == 2 and name.split(".")[-2] in LOW_RANK

    def adam_direction(self, gradient, state):
        """m / (sqrt(v) + eps), and the step size with the bias corrections."""
        if "m" not in state:
            state["m"], state["v"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
        m, v, t = state["m"], state["v"], state["step"]
        m.mul_(BETA1).add_(gradient, alpha=1 - BETA1)
        v.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        return m / v.sqrt().add_(EPSILON), self.rate * math.sqrt(1 - BETA2**t) / (1 - BETA1**t)

    def plain(self, parameter, gradient, state):
        direction, size = self.adam_direction(gradient, state)
        parameter.add_(direction, alpha=-size)
        self.shrink(parameter)

    def shrink(self, parameter):
        if parameter.dim() >= 2:
            parameter.mul_(1 - self.rate * self.decay)


class Came(Restated):
    betas, epsilons, threshold = (0.9, 0.999, 0.9999), (1e-30, 1e-16), 1.0

    @staticmethod
    def inverse_root(rows, columns):
        return (rows / rows.mean(dim=-1, keepdim=True)).rsqrt_().unsqueeze(-1) * columns.rsqrt().unsqueeze(-2)

    @staticmethod
    def move(kept, value, beta):
        kept.mul_(beta).add_(value, alpha=1 - beta)

    def update(self, name, p, g, state):
        b1, b2, b3 = self.betas
        factored = p.dim() >= 2
        if "m" not in state:
            state["m"] = torch.zeros_like(p)
            if factored:
                for key in ("row", "instability_row"):
                    state[key] = p.new_zeros(p.shape[:-1])
                for key in ("column", "instability_column"):
                    state[key] = p.new_zeros(p.shape[:-2] + p.shape[-1:])
            else:
                state["v"] = torch.zeros_like(p)
        q = g**2 + self.epsilons[0]
        if factored:
            self.move(state["row"], q.mean(dim=-1), b2)
            self.move(state["column"], q.mean(dim=-2), b2)
            u = self.inverse_root(state["row"], state["column"]) * g
        else:
            self.move(state["v"], q, b2)
            u = state["v"].rsqrt() * g
        u.div_((u.norm(2) / math.sqrt(u.numel()) / self.threshold).clamp_(min=1.0))
        m = state["m"]
        self.move(m, u, b1)
        if factored:
            s = (u - m) ** 2 + self.epsilons[1]
            self.move(state["instability_row"], s.mean(dim=-1), b3)
            self.move(state["instability_column"], s.mean(dim=-2), b3)
            u = self.inverse_root(state["instability_row"], state["instability_column"]) * m
        else:
            u = m
        self.shrink(p)
        p.add_(u, alpha=-self.rate)


class Apollo(Restated):
    """A random basis is drawn at the first step and kept; phi for each channel, or for the tensor."""

    def __init__(self, named, rank, scale, per_tensor):
        super().__init__(named)
        self.rank, self.root_scale, self.per_tensor = rank, math.sqrt(scale), per_tensor

    def update(self, name, p, g, state):
        if not self.is_matrix_of_a_layer(name, p):
            self.plain(p, g, state)
            return
        wide = g.shape[0] < g.shape[1]
        if "basis" not in state:
            state["basis"] = torch.randn(min(g.shape), self.rank) / math.sqrt(self.rank)
        low = state["basis"].t() @ g if wide else g @ state["basis"]
        direction, size = self.adam_direction(low, state)
        if self.per_tensor:
            phi = direction.norm() / (low.norm() + 1e-8)
        else:
            axis = 0 if wide else 1
            phi = direction.norm(dim=axis, keepdim=True) / (low.norm(dim=axis, keepdim=True) + 1e-8)
        scaled = g * phi
        norm = scaled.norm()
        if "norm" in state:
            limit = max(norm / (state["norm"] + 1e-8), 1.01) / 1.01
            scaled = scaled / limit
            norm = norm / limit
        state["norm"] = norm
        scaled = scaled * self.root_scale
        p.add_(scaled, alpha=-size)
        self.shrink(p)


class GaLore(Restated):
    rank, scale = 128, 0.25

    def __init__(self, named, gap):
        super().__init__(named)
        self.gap = gap

    def update(self, name, p, g, state):
        if not self.is_matrix_of_a_layer(name, p):
            self.plain(p, g, state)
            return
        wide = g.shape[0] < g.shape[1]
        if (state["step"] - 1) % self.gap == 0:
            u, _, vh = torch.linalg.svd(g, full_matrices=False)
            state["basis"] = (u[:, : self.rank] if wide else vh[: self.rank, :]).contiguous()
        basis = state["basis"]
        low = basis.t() @ g if wide else g @ basis.t()
        direction, size = self.adam_direction(low, state)
        lifted = basis @ direction if wide else direction @ basis
        p.add_(lifted * self.scale, alpha=-size)
        self.shrink(p)


class Muon(Restated):
    """In f32, as ours; it was published in bfloat16."""

    momentum, coefficients, iterations = 0.95, (3.4445, -4.7750, 2.0315), 5

    def update(self, name, p, g, state):
        if not self.is_matrix_of_a_layer(name, p):
            self.plain(p, g, state)
            return
        if "buffer" not in state:
            state["buffer"] = torch.zeros_like(g)
        buffer = state["buffer"]
        buffer.lerp_(g, 1 - self.momentum)
        x = g.lerp(buffer, self.momentum)
        tall = x.shape[0] > x.shape[1]
        x = x.t() if tall else x
        x = x / (x.norm() + 1e-7)
        a, b, c = self.coefficients
        for _ in range(self.iterations):
            s = x @ x.t()
            x = a * x + (b * s + c * s @ s) @ x
        x = x.t() if tall else x
        self.shrink(p)
        p.add_(x, alpha=-self.rate * 0.2 * math.sqrt(max(p.shape)))


def create(case, named):
    """The optimizer of a case."""
    choices = {
        "came": lambda: Came(named),
        "apollo": lambda: Apollo(named, 192, 1, False),
        "apollo-mini": lambda: Apollo(named, 1, 128, True),
        "galore": lambda: GaLore(named, 1 << 30),
        "galore-refresh": lambda: GaLore(named, 1),
        "muon": lambda: Muon(named),
    }
    return choices[case]()
