"""The equations of the second set of optimizers in float64, as twins.py has those of the first.

The context c also has: name, of the parameter; shared, a dictionary that lasts for the whole run; random(key, make), a tensor that the case gives or make() makes, rounded
to f32 and recorded under that key; and refresh(), which notes the step as one from which a new basis or mask is in force. State that begins with _ is not recorded.
"""

import math
import torch


def ema(s, key, beta, x):
    s[key] = beta * s.get(key, torch.zeros_like(x)) + (1 - beta) * x
    return s[key]


def adopt(p, g, s, h, t, lr, c):
    b1, b2 = h["betas"]
    if not h["decouple"]:
        g = g + h["weight_decay"] * p
    if t == 1:
        s["exp_avg"], s["exp_avg_sq"] = torch.zeros_like(p), g * g
        return p
    if h["decouple"]:
        p = p - lr * h["weight_decay"] * p
    n = g / s["exp_avg_sq"].sqrt().clamp(min=h["eps"])
    if c["clip"]:
        bound = (t - 1) ** float(c["clip"].removeprefix("t^"))
        n = n.clamp(-bound, bound)
    m = ema(s, "exp_avg", b1, n)
    ema(s, "exp_avg_sq", b2, g * g)
    return p - lr * m


def ademamix(p, g, s, h, t, lr, c):
    b1, b2, b3 = h["betas"]
    alpha, ramp, last = h["alpha"], h["alpha_warmup"], h["beta3_warmup"]
    if ramp is not None and t < ramp:
        alpha = alpha * t / ramp
    if last is not None and t < last:
        half_life = lambda b: math.log(0.5) / math.log(b + 1e-8) - 1
        x = t / last
        b3 = 0.5 ** (1 / ((1 - x) * half_life(b1) + x * half_life(b3) + 1))
    fast = ema(s, "exp_avg_fast", b1, g) if b1 else g
    slow = ema(s, "exp_avg_slow", b3, g)
    v = ema(s, "exp_avg_sq", b2, g * g)
    u = (fast / (1 - b1**t) + alpha * slow) / (v.sqrt() / math.sqrt(1 - b2**t) + h["eps"])
    return p - lr * (u + h["weight_decay"] * p)


def mars(p, g, s, h, t, lr, c):
    vectors = g.dim() != 2 and not c["optimize_1d"]
    b1, b2 = c["betas_1d"] if vectors else h["betas"]
    x = g
    if not vectors:
        x = g + c["gamma"] * b1 / (1 - b1) * (g - s.get("last_grad", torch.zeros_like(g)))
        x = x / max(1.0, x.norm().item())
    s["last_grad"] = g
    m = ema(s, "exp_avg", b1, x)
    if not vectors and c["mars_type"] == "mars-lion":
        s["exp_avg_sq"] = torch.zeros_like(g)
        u = m.sign()
    else:
        v = ema(s, "exp_avg_sq", b2, x * x)
        if h["amsgrad"]:
            v = s["max_exp_avg_sq"] = torch.maximum(v, s.get("max_exp_avg_sq", v))
        u = m / (1 - b1**t) / (v.sqrt() / math.sqrt(1 - b2**t) + c["eps"])
    if vectors:
        return p - lr * c["lr_1d_factor"] * (c["weight_decay_1d"] * p + u)
    return p - lr * (h["weight_decay"] * p + u)


def stable_spam(p, g, s, h, t, lr, c):
    b1, b2 = h["betas"]
    span, floor, gap = c["total_T"], c["eta_min"], c["update_proj_gap"]
    shrink = 1.0 if span is None else floor + (1 - floor) * (1 + math.cos(math.pi * t / (span + 1))) / 2
    if c.get("holds_floor") and t > span:
        shrink = floor
    g1 = (b1 if c["gamma1"] == -1 else c["gamma1"]) * shrink
    p = p * (1 - lr * h["weight_decay"])
    k = s["step"] = s.get("step", 0) + 1
    largest = g.abs().max()
    bound = ema(s, "m_max_t", c["gamma3"], largest) / (1 - c["gamma3"] ** k)
    g = torch.where(g.abs() > bound, g / largest * bound, g)
    norm = g.norm()
    mean = ema(s, "m_norm_t", g1, norm) / (1 - g1**k)
    square = ema(s, "v_norm_t", c["gamma2"], norm * norm) / (1 - c["gamma2"] ** k)
    if norm > 0:
        g = g / norm * mean / (square.sqrt() + h["eps"])
    resets = gap > 0 and t % gap == 0
    if resets:
        k = s["step"] = 1
    m, v = ema(s, "exp_avg", b1 * shrink, g), ema(s, "exp_avg_sq", b2, g * g)
    if h["amsgrad"]:
        v = s["max_exp_avg_sq"] = torch.maximum(v, s.get("max_exp_avg_sq", v))
    p = p - lr / (1 - (b1 * shrink) ** k) * m / (v.sqrt() / math.sqrt(1 - b2**k) + h["eps"])
    if resets:
        s["exp_avg"], s["exp_avg_sq"] = torch.zeros_like(g), torch.zeros_like(g)
    return p


def prodigy_estimate(p, g, s, h, t, lr, c):
    """The pass over all parameters that changes d; every group has the same settings."""
    h, lr, d = next(iter(h.values())), max(lr.values()), c["shared"]
    if "d" not in d:
        d.update(d=h["d0"], d_max=h["d0"], d_numerator=0.0, k=0)
    (b1, b2), k = h["betas"], d["k"] + 1
    b3 = math.sqrt(b2) if h["beta3"] is None else h["beta3"]
    old = d["d"]
    a = old * lr * (math.sqrt(1 - b2**k) / (1 - b1**k) if h["use_bias_correction"] else 1.0)
    numerator, denominator = d["d_numerator"] * b3, 0.0
    for name, x in p.items():
        own, cut = s[name], slice(None, None, h["slice_p"])
        y = g[name] if h["decouple"] else g[name] + h["weight_decay"] * x
        y, x = y.flatten()[cut], x.flatten()[cut]
        own.setdefault("p0", x.clone())
        own["s"] = b3 * own.get("s", torch.zeros_like(x)) + old / h["d0"] * (old if h["safeguard_warmup"] else a) * y
        numerator += old / h["d0"] * a * (y @ (own["p0"] - x)).item()
        denominator += own["s"].abs().sum().item()
    d.update(rests=denominator == 0, a=a, old=old)
    if denominator == 0:
        return
    estimate = h["d_coef"] * numerator / denominator
    new = max(old, estimate) if old == h["d0"] else old
    d["d_max"] = max(d["d_max"], estimate)
    growth = math.inf if h["growth_rate"] == "inf" else h["growth_rate"]
    d.update(d=min(d["d_max"], new * growth), d_numerator=numerator, k=k)


def prodigy(p, g, s, h, t, lr, c):
    d, (b1, b2) = c["shared"], h["betas"]
    if not h["decouple"]:
        g = g + h["weight_decay"] * p
    m = ema(s, "exp_avg", b1, d["old"] * g) if b1 else None
    v = ema(s, "exp_avg_sq", b2, d["old"] ** 2 * g * g)
    if d["rests"]:
        return p
    if h["decouple"]:
        p = p - h["weight_decay"] * d["a"] * p
    root = v.sqrt() + d["d"] * h["eps"]
    return p - d["a"] * ((m if b1 else d["d"] * g) / root)


def soap(p, g, s, h, t, lr, c):
    """Without merged axes. The moments are those of the rotated gradient."""
    b1, b2 = h["betas"]
    bs, most = h["shampoo_beta"] if h["shampoo_beta"] >= 0 else b2, h["max_precond_dim"]
    axes = [d for d in range(g.dim()) if g.shape[d] <= most] if g.dim() > 1 or h["precondition_1d"] else []

    def turn(x, back=False):
        for d in axes:
            x = torch.tensordot(x, s[f"Q.{d}"], dims=([d], [1 if back else 0])).movedim(-1, d)
        return x

    def square(d):
        x = g.movedim(d, 0).reshape(g.shape[d], -1)
        return x @ x.T

    def renew(make):
        for d in axes:
            s[f"Q.{d}"] = c["random"](f"proj.{c['name']}.{s['_made']}.{d}", lambda: make(d))
        c["refresh"](t + 1)
        s["_made"] += 1

    if t == 1:
        s.update(_made=0, exp_avg=torch.zeros_like(g), exp_avg_sq=torch.zeros_like(g))
        for d in axes:
            s[f"GG.{d}"] = (1 - bs) * square(d)
        renew(lambda d: torch.linalg.eigh(s[f"GG.{d}"])[1].flip(1))
        return p
    k, x = t - 1, turn(g)
    m, v = ema(s, "exp_avg", b1, x), ema(s, "exp_avg_sq", b2, x * x)
    n = turn(m / (v.sqrt() + h["eps"]), back=True)
    if h["normalize_grads"]:
        n = n / (1e-30 + n.square().mean().sqrt())
    p = p - lr * (math.sqrt(1 - b2**k) / (1 - b1**k) if h["correct_bias"] else 1.0) * n
    p = p - lr * h["weight_decay"] * p
    m = turn(m, back=True)
    for d in axes:
        s[f"GG.{d}"] = bs * s[f"GG.{d}"] + (1 - bs) * square(d)
    if k % h["precondition_frequency"] == 0:
        orders = {d: (s[f"Q.{d}"].T @ s[f"GG.{d}"] @ s[f"Q.{d}"]).diag().argsort(descending=True, stable=True) for d in axes}
        for d, order in orders.items():
            s["exp_avg_sq"] = s["exp_avg_sq"].index_select(d, order)
        renew(lambda d: torch.linalg.qr(s[f"GG.{d}"] @ s[f"Q.{d}"][:, orders[d]])[0])
    s["exp_avg"] = turn(m)
    return p


def dion_auxiliary(p, g, s, h, t, lr, epsilon):
    b1, b2 = h["beta1"], h["beta2"]
    p = p * (1 - lr * h["weight_decay"])
    if h["algorithm"] == "lion":
        u = (b1 * s.get("momentum", torch.zeros_like(p)) + (1 - b1) * g).sign()
        ema(s, "momentum", b2, g)
        return p - lr * u
    m, v = ema(s, "momentum", b1, g), ema(s, "variance", b2, g * g)
    return p - lr * (m / (1 - b1**t)) / (v.sqrt() / math.sqrt(1 - b2**t) + epsilon)


def dion_step(p, g, s, h, lr, c, rank, rounds, epsilon, wide, keeps):
    m = s["momentum"] = s.get("momentum", torch.zeros_like(p)) + g
    b = m.T if wide else m
    q = s.get("Q")
    if q is None:
        q = c["random"](f"init.{c['name']}.Q", lambda: torch.randn(b.shape[1], rank, generator=c["generator"], dtype=torch.float64))
    p = p * (1 - lr * h["weight_decay"])
    if keeps and not m.any():
        s["Q"] = q
        return p
    for _ in range(rounds):
        left, _ = torch.linalg.qr(b @ q)
        right = b.T @ left
        q = right
    s["Q"] = right / (right.norm(dim=0, keepdim=True) + epsilon)
    captured, direction = left @ right.T, left @ s["Q"].T
    s["momentum"] = m - (1 - h["mu"]) * (captured.T if wide else captured)
    return p - lr * math.sqrt(p.shape[0] / p.shape[1]) * (direction.T if wide else direction)


def dion_simple(p, g, s, h, t, lr, c):
    if h["algorithm"] != "dion":
        return dion_auxiliary(p, g, s, h, t, lr, c["epsilon"])
    return dion_step(p, g, s, h, lr, c, min(c["rank"], *p.shape), 1, c["epsilon"], wide=False, keeps=False)


def dion(p, g, s, h, t, lr, c):
    if h["algorithm"] != "dion":
        return dion_auxiliary(p, g, s, h, t, lr, h["epsilon"])
    many = h["rank_multiple_of"]
    rank = min(min(p.shape), many * math.ceil(h["rank_fraction"] * min(p.shape) / many))
    return dion_step(p, g, s, h, lr, c, rank, c["power_iters"], h["epsilon"], wide=p.shape[0] < p.shape[1], keeps=True)


TWINS = {
    "adopt": adopt, "ademamix": ademamix, "mars": mars, "stable_spam": stable_spam, "prodigy": prodigy, "soap": soap,
    "dion_simple": dion_simple, "dion": dion,
}
FIRST = {"prodigy": prodigy_estimate}
