"""Records LoRA's and DoRA's adapted weights and gradients from formulas written in PyTorch.

  python3 make.py > adapted-weights.json

DoRA (Liu et al., 2024): W' = m * V / |V|, V = W + scale * B A, with |V| the norm of each output's vector, detached as in section 4.3.
rsLoRA (Kalajdzievski, 2023): scale = alpha / sqrt(rank).
"""
import json
import math
import torch

torch.manual_seed(7)
cases = []
for rslora in (False, True):
    for dora in (False, True):
        rank, inputs, outputs, rows, alpha = 3, 6, 5, 4, 7.0
        scale = alpha / math.sqrt(rank) if rslora else alpha / rank
        x, w = torch.randn(rows, inputs), torch.randn(outputs, inputs)
        a, b = torch.randn(rank, inputs).requires_grad_(), torch.randn(outputs, rank).requires_grad_()
        m = (torch.rand(outputs) + 0.5).requires_grad_()
        upstream = torch.randn(rows, outputs)
        weight = w + scale * (b @ a)
        if dora:
            weight = m[:, None] * weight / torch.linalg.norm(weight, dim=1, keepdim=True).detach()
        y = x @ weight.T
        (y * upstream).sum().backward()
        cases.append({
            "rslora": rslora, "dora": dora, "rank": rank, "alpha": alpha, "inputs": inputs, "outputs": outputs,
            **{name: tensor.detach().flatten().tolist() for name, tensor in
               {"x": x, "w": w, "a": a, "b": b, "m": m, "upstream": upstream, "y": y, "grad_a": a.grad, "grad_b": b.grad,
                **({"grad_m": m.grad} if dora else {})}.items()},
        })
print(json.dumps(cases))
