"""The optimizers' equations in float64, written from the papers and from what their references were seen to do.

Each function takes the parameter p, its gradient g, its state s (a dictionary that it fills), the settings h of its group, the step t
from 1, the learning rate of the step, and a context c with what belongs to the whole optimizer. It returns the new p.
"""

import math
import torch


def lion(p, g, s, h, t, lr, c):
    b1, b2 = h["betas"]
    m = s.get("exp_avg", torch.zeros_like(p))
    p = p * (1 - lr * h["weight_decay"]) - lr * torch.sign(b1 * m + (1 - b1) * g)
    s["exp_avg"] = b2 * m + (1 - b2) * g
    return p


def adam_mini(p, g, s, h, t, lr, c):
    """One second moment for each row, column or tensor; the first head_lines lines share theirs by heads of head_size lines."""
    b1, b2 = h["betas"]
    s["exp_avg"] = b1 * s.get("exp_avg", torch.zeros_like(p)) + (1 - b1) * g
    q = (g * g).reshape(-1, g.shape[-1]) if g.dim() > 1 else (g * g).reshape(1, -1)
    kind = h["blocks"] if g.dim() > 1 else "tensor"
    mean = {"rows": lambda: q.mean(1), "columns": lambda: q.mean(0), "tensor": lambda: q.mean().reshape(1)}[kind]()
    if kind != "tensor" and h["head_lines"] and h["head_size"] > 1:
        n, size = h["head_lines"], h["head_size"]
        mean[:n] = mean[:n].reshape(-1, size).mean(1, keepdim=True).expand(-1, size).reshape(-1)
    v = s["v_mean"] = b2 * s.get("v_mean", torch.zeros_like(mean)) + (1 - b2) * mean
    root = (v / (1 - b2**t)).sqrt() + h["eps"]
    root = root.reshape(-1, 1) if kind == "rows" else root
    step = ((s["exp_avg"] / (1 - b1**t)).reshape(q.shape) / root).reshape(p.shape)
    return p * (1 - lr * h["weight_decay"]) - lr * step


def moments(g, s, b1, b2, first):
    s["exp_avg"] = b1 * s.get("exp_avg", torch.zeros_like(g)) + first * g
    s["exp_avg_sq"] = b2 * s.get("exp_avg_sq", torch.zeros_like(g)) + (1 - b2) * g * g
    return s["exp_avg"], s["exp_avg_sq"]


def lamb_nv(p, g, s, h, t, lr, c):
    """NVIDIA's form of LAMB as in timm."""
    b1, b2 = h["betas"]
    wd = h["weight_decay"]
    if h["max_grad_norm"] is not None:
        g = g / max(1.0, c["norm"] / h["max_grad_norm"])
    m, v = moments(g, s, b1, b2, 1 - b1 if h["grad_averaging"] else 1.0)
    bc1, bc2 = (1 - b1**t, 1 - b2**t) if h["bias_correction"] else (1.0, 1.0)
    u = (m / bc1) / (v.sqrt() / math.sqrt(bc2) + h["eps"])
    if h["caution"]:
        mask = (u * g > 0).to(u.dtype)
        u = u * mask / max(mask.mean().item(), 1e-3)
    if wd != 0 and h["decoupled_decay"]:
        p = p * (1 - wd * (lr * lr / h["lr"] if h["corrected_weight_decay"] else lr))
    elif wd != 0:
        u = u + wd * p
    if wd != 0 or h["always_adapt"]:
        a, b = p.norm().item(), u.norm().item()
        ratio = a / b if a > 0 and b > 0 else 1.0
        u = u * (min(ratio, 1.0) if h["trust_clip"] else ratio)
    return p - lr * u


def adafactor_hf(p, g, s, h, t, lr, c):
    """Adafactor as in fairseq and Hugging Face."""
    rho = min(1e-6 * t if h["warmup_init"] else 1e-2, 1 / math.sqrt(t)) if h["relative_step"] else lr
    a = rho * (max(h["eps"][1], p.square().mean().sqrt().item()) if h["scale_parameter"] else 1.0)
    b2 = 1 - t ** h["decay_rate"]
    u = g * inverse_root(g * g + h["eps"][0], s, b2, "exp_avg_sq")
    u = u / max(1.0, u.square().mean().sqrt().item() / h["clip_threshold"]) * a
    if h["beta1"] is not None:
        u = s["exp_avg"] = h["beta1"] * s.get("exp_avg", torch.zeros_like(p)) + (1 - h["beta1"]) * u
    return p - h["weight_decay"] * a * p - u


def inverse_root(q, s, beta, name):
    """1 / sqrt of a running mean of q, factored over the last two sizes."""
    if q.dim() < 2:
        s[name] = beta * s.get(name, torch.zeros_like(q)) + (1 - beta) * q
        return s[name].rsqrt()
    for end, dim in (("_row", -1), ("_col", -2)):
        mean = q.mean(dim)
        s[name + end] = beta * s.get(name + end, torch.zeros_like(mean)) + (1 - beta) * mean
    row, col = s[name + "_row"], s[name + "_col"]
    return (row / row.mean(-1, keepdim=True)).rsqrt().unsqueeze(-1) * col.rsqrt().unsqueeze(-2)


def came(p, g, s, h, t, lr, c):
    """As published; bias_correction, which is none of the reference's, divides each moment by 1 - beta^t where it is used."""
    b1, b2, b3 = h["betas"]
    bc1, bc2, bc3 = (1 - b1**t, 1 - b2**t, 1 - b3**t) if h.get("bias_correction") else (1.0, 1.0, 1.0)
    u = g * inverse_root(g * g + h["eps"][0], s, b2, "exp_avg_sq") * math.sqrt(bc2)
    u = u / max(1.0, u.square().mean().sqrt().item() / h["clip_threshold"])
    m = s["exp_avg"] = b1 * s.get("exp_avg", torch.zeros_like(p)) + (1 - b1) * u
    d = m * inverse_root((u - m).square() + h["eps"][1], s, b3, "exp_avg_res") * math.sqrt(bc3) if p.dim() > 1 else m
    return p * (1 - lr * h["weight_decay"]) - lr * d / bc1


class Projection:
    """The bases of a parameter: given, or made at steps 1, gap + 1, ... from the gradient or at random."""

    def __init__(self, shape, h, given, generator):
        m, n = shape
        kind = h["proj_type"]
        self.full = kind == "full"
        self.left = {"std": m < n, "reverse_std": m >= n, "left": True, "right": False, "full": False}[kind]
        self.random = h.get("proj") == "random"
        self.rank, self.gap = h["rank"], h["update_proj_gap"]
        self.given, self.generator, self.made, self.refreshes, self.singular = given, generator, [], [], []

    def of(self, g, t):
        if (t - 1) % self.gap == 0:
            self.refreshes.append(t)
            k = len(self.made)
            self.made.append(self.given(k, self.full) if self.given else self.make(g))
        return self.made[-1]

    def make(self, g):
        if self.random:
            size = (g.shape[0], self.rank) if self.left else (self.rank, g.shape[1])
            basis = [torch.randn(size, generator=self.generator, dtype=torch.float64) / math.sqrt(self.rank)]
        else:
            u, sv, vh = torch.linalg.svd(g, full_matrices=False)
            self.singular.append(sv)
            a, b = u[:, : self.rank], vh[: self.rank]
            basis = [a, b] if self.full else [a] if self.left else [b]
        return [x.float().double() for x in basis]

    def down(self, g, basis):
        return basis[0].T @ g @ basis[1].T if self.full else basis[0].T @ g if self.left else g @ basis[0].T

    def up(self, low, basis):
        return basis[0] @ low @ basis[1] if self.full else basis[0] @ low if self.left else low @ basis[0]


def plain(p, g, s, h, t, lr, c):
    """Adam with eps on the uncorrected root and decay last: what GaLore, Fira and APOLLO do elsewhere."""
    n, a = direction(g, s, h, t, lr)
    return (p - a * n) * decay(h, lr)


def direction(r, s, h, t, lr):
    b1, b2 = h["betas"]
    m, v = moments(r, s, b1, b2, 1 - b1)
    return m / (v.sqrt() + h["eps"]), lr * math.sqrt(1 - b2**t) / (1 - b1**t) if h["correct_bias"] else lr


def decay(h, lr):
    return 1 - lr * h["weight_decay"] if h["weight_decay"] > 0 else 1.0


def limited(update, s, name, c):
    """The norm may grow by one percent a step; the first is free. limiter_ignores_zero, none of the references', forgets steps of zeros."""
    norm = update.norm().item()
    if c.get("disable_nl") or (c.get("limiter_ignores_zero") and norm == 0):
        return update
    if name in s:
        limit = max(norm / (s[name] + 1e-8), 1.01) / 1.01
        update, norm = update / limit, norm / limit
    s[name] = norm
    return update


def galore(p, g, s, h, t, lr, c):
    if "rank" not in h:
        return plain(p, g, s, h, t, lr, c)
    projection, basis = c["projection"], c["projection"].of(g, t)
    n, a = direction(projection.down(g, basis), s, h, t, lr)
    return (p - a * h["scale"] * projection.up(n, basis)) * decay(h, lr)


def fira(p, g, s, h, t, lr, c):
    if "rank" not in h:
        return plain(p, g, s, h, t, lr, c)
    projection, basis = c["projection"], c["projection"].of(g, t)
    r = projection.down(g, basis)
    n, a = direction(r, s, h, t, lr)
    axis = 0 if r.shape[0] < r.shape[1] else 1
    phi = n.norm(dim=axis, keepdim=True) / (r.norm(dim=axis, keepdim=True) + 1e-8)
    left_out = 1.0 if c.get("whole_residual") else h["alpha"]
    rest = limited((g - left_out * projection.up(r, basis)) * phi, s, "scaling_grad", c)
    return (p - a * (h["alpha"] * projection.up(n, basis) + rest)) * decay(h, lr)


def apollo(p, g, s, h, t, lr, c):
    if "rank" not in h:
        return plain(p, g, s, h, t, lr, c)
    r = c["projection"].down(g, c["projection"].of(g, t))
    n, a = direction(r, s, h, t, lr)
    if h["scale_type"] == "tensor":
        phi = n.norm() / (r.norm() + 1e-8)
    else:
        axis = 0 if g.shape[0] < g.shape[1] else 1
        phi = n.norm(dim=axis, keepdim=True) / (r.norm(dim=axis, keepdim=True) + 1e-8)
    update = g * phi
    if c.get("scale_front"):
        update = update * math.sqrt(h["scale"])
    update = limited(update, s, "scaled_grad", c)
    if not c.get("scale_front"):
        update = update * math.sqrt(h["scale"])
    return (p - a * update) * decay(h, lr)


def newton_schulz(x, steps, adds, dtype):
    norm = x.norm(dim=(-2, -1), keepdim=True)
    flips = x.shape[-2] > x.shape[-1]
    x = (x.mT if flips else x).to(dtype)
    x = x / ((norm + 1e-7) if adds else norm.clamp(min=1e-7)).to(dtype)
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.mT if flips else x).double()


def muon_kj(p, g, s, h, t, lr, c):
    """Keller Jordan's: three sizes are a batch of matrices, four are flattened, and the size follows the last two."""
    if not h["use_muon"]:
        return muon_auxiliary(p, g, s, h, t, lr, inside=False)
    p = p * (1 - lr * h["weight_decay"])
    u = momentum(g, s, h["momentum"], True)
    x = newton_schulz(u.reshape(u.shape[0], -1) if u.dim() == 4 else u, 5, True, c["dtype"])
    return p - lr * math.sqrt(max(1, g.shape[-2] / g.shape[-1])) * x.reshape(p.shape)


def muon_kozistr(p, g, s, h, t, lr, c):
    """The collection's: more than two sizes are flattened; use_adjusted_lr selects the original size."""
    if h["weight_decouple"]:
        p = p * (1 - lr * h["weight_decay"])
    else:
        g = g + h["weight_decay"] * p
    if not h["use_muon"]:
        return muon_auxiliary(p, g, s, dict(h, weight_decay=0), t, lr, inside=True)
    u = momentum(g, s, h["momentum"], h["nesterov"])
    x = newton_schulz(u.reshape(u.shape[0], -1), h["ns_steps"], False, c["dtype"])
    m, n = x.shape
    return p - lr * (math.sqrt(max(1, m / n)) if h["use_adjusted_lr"] else 0.2 * math.sqrt(max(m, n))) * x.reshape(p.shape)


def momentum(g, s, mu, nesterov):
    b = s["momentum_buffer"] = mu * s.get("momentum_buffer", torch.zeros_like(g)) + (1 - mu) * g
    return (1 - mu) * g + mu * b if nesterov else b


def muon_auxiliary(p, g, s, h, t, lr, inside):
    b1, b2 = h["betas"]
    m, v = moments(g, s, b1, b2, 1 - b1)
    root = math.sqrt(1 - b2**t)
    denominator = (v.sqrt() + h["eps"]) / root if inside else v.sqrt() / root + h["eps"]
    return p * (1 - lr * h["weight_decay"]) - lr * m / (1 - b1**t) / denominator


TWINS = {
    "lion": lion, "adam_mini": adam_mini, "lamb_nv": lamb_nv, "adafactor_hf": adafactor_hf, "came": came,
    "galore": galore, "fira": fira, "apollo": apollo, "apollo_mini": apollo, "muon_kj": muon_kj, "muon_kozistr": muon_kozistr,
}
