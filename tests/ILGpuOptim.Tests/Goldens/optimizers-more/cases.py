"""The cases that make.py records: optimizer, name, and settings with the groups' hyper-parameters."""

MATRICES = ["wide", "tall", "square"]
ALL = [*MATRICES, "vec", "scalar", "cube"]
ODD = ["dot", "row", "column", "kernel", "number"]
EDGE = {"zero": [1, 5, 20], "huge": [12]}
CASES = []


def add(optimizer, name, groups, **settings):
    CASES.append((optimizer, name, dict(settings, groups=[{"params": params, "hyper": hyper} for params, hyper in groups])))


def series(optimizer, defaults, cases, params=ALL):
    """Cases of one group: a name, what differs from the defaults, and settings of the case."""
    for name, changes, settings in cases:
        settings = dict(settings)
        add(optimizer, name, [(settings.pop("params", params), defaults | changes)], **settings)


series("sgd", {"lr": 0.05, "momentum": 0, "dampening": 0, "weight_decay": 0, "nesterov": False, "maximize": False}, [
    ("wd", {"weight_decay": 0.1}, {}),
    ("mom", {"momentum": 0.9}, {}),
    ("mom_wd_warmup", {"momentum": 0.9, "weight_decay": 0.05}, {"schedule": "warmup10"}),
    ("damp_wd", {"momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1}, {}),
    ("nesterov_edge", {"lr": 0.02, "momentum": 0.95, "nesterov": True}, EDGE),
    ("maximize", {"maximize": True}, {}),
    ("maximize_wd", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "maximize": True}, EDGE),
    ("zeros", {"momentum": 0.9, "weight_decay": 0.1}, {"init": "zeros"}),
    ("odd", {"momentum": 0.9, "dampening": 0.1}, {"params": ODD}),
])

for kind, left_out in ("adam", ()), ("adamw", ("beta1_zero", "amsgrad_maximize", "zeros_edge", "eps")):
    series(kind, {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01, "amsgrad": False, "maximize": False}, [case for case in [
        ("betas", {"betas": [0.8, 0.95]}, {}),
        ("beta1_zero", {"betas": [0.0, 0.99], "weight_decay": 0}, {}),
        ("eps", {"eps": 1e-2, "weight_decay": 0.1}, {}),
        ("amsgrad", {"amsgrad": True}, {}),
        ("amsgrad_edge", {"amsgrad": True, "betas": [0.9, 0.9], "weight_decay": 0.1}, EDGE),
        ("maximize", {"maximize": True, "weight_decay": 0.1}, {}),
        ("amsgrad_maximize", {"amsgrad": True, "maximize": True}, {"schedule": "warmup10"}),
        ("edge_first", {"weight_decay": 0.1}, EDGE),
        ("zeros", {"weight_decay": 0.1}, {"init": "zeros"}),
        ("zeros_edge", {}, {"init": "zeros", "zero": [1, 2], "huge": [3]}),
        ("odd", {"weight_decay": 0.1}, {"params": ODD}),
    ] if case[0] not in left_out])

series("lamb_nv", {
    "lr": 0.01, "bias_correction": True, "betas": [0.9, 0.999], "eps": 1e-6, "weight_decay": 0.01, "grad_averaging": True, "max_grad_norm": 1.0,
    "trust_clip": False, "always_adapt": False, "caution": False, "decoupled_decay": False, "corrected_weight_decay": False,
}, [
    ("no_decay", {"weight_decay": 0.0}, {}),
    ("always_adapt", {"weight_decay": 0.0, "always_adapt": True}, {}),
    ("always_adapt_clip", {"weight_decay": 0.0, "always_adapt": True, "trust_clip": True, "max_grad_norm": None}, {}),
    ("no_correction", {"bias_correction": False, "weight_decay": 0.1}, {}),
    ("no_averaging", {"grad_averaging": False, "max_grad_norm": 0.1}, {}),
    ("no_correction_averaging", {"bias_correction": False, "grad_averaging": False, "max_grad_norm": None, "betas": [0.8, 0.95]}, {}),
    ("edge", {"weight_decay": 0.1}, EDGE),
    ("edge_noclip", {"weight_decay": 0.1, "max_grad_norm": None, "eps": 1e-3}, EDGE),
    ("zeros", {}, {"init": "zeros"}),
    ("warmup", {"weight_decay": 0.1, "betas": [0.95, 0.98]}, {"schedule": "warmup10"}),
    ("caution", {"caution": True}, {}),
    ("caution_edge", {"caution": True, "always_adapt": True, "weight_decay": 0.0, "max_grad_norm": 0.5}, EDGE),
    ("caution_decoupled", {"caution": True, "decoupled_decay": True, "weight_decay": 0.1, "trust_clip": True}, {"schedule": "warmup10"}),
    ("decoupled", {"decoupled_decay": True, "weight_decay": 0.1}, {"schedule": "warmup10"}),
    ("corrected", {"decoupled_decay": True, "corrected_weight_decay": True, "weight_decay": 0.1, "lr": 0.05}, {"schedule": "warmup10"}),
    ("corrected_alone", {"corrected_weight_decay": True, "weight_decay": 0.1}, {"schedule": "warmup10"}),
    ("odd", {"weight_decay": 0.1}, {"params": ODD}),
])
lamb = CASES[-1][2]["groups"][0]["hyper"]
add("lamb_nv", "groups", [(["vec", "scalar"], lamb | {"weight_decay": 0.0, "lr": 0.003}), ([*MATRICES, "cube"], lamb)])

series("adafactor_torch", {"lr": 0.05, "beta2_decay": -0.8, "eps": [None, 0.001], "d": 1.0, "weight_decay": 0.0, "maximize": False}, [
    ("beta2_decay", {"beta2_decay": -0.5, "d": 1.5}, {}),
    ("beta2_fast", {"beta2_decay": -1.0, "lr": 1.0, "weight_decay": 0.01}, {}),
    ("maximize", {"maximize": True, "weight_decay": 0.1}, {}),
    ("edge", {"weight_decay": 0.05}, EDGE),
    ("zeros", {"eps": [None, 0.1]}, {"init": "zeros"}),
    ("warmup", {"weight_decay": 0.1}, {"schedule": "warmup10"}),
    ("eps_large", {"eps": [0.01, 0.5]}, EDGE),
    ("odd", {"weight_decay": 0.1}, {"params": ODD}),
])

series("adafactor_hf", {
    "lr": None, "eps": [1e-30, 0.001], "clip_threshold": 1.0, "decay_rate": -0.8, "beta1": None, "weight_decay": 0.0, "scale_parameter": True,
    "relative_step": True, "warmup_init": False,
}, [
    ("relative_wd", {"weight_decay": 0.1, "clip_threshold": 0.5}, {}),
    ("relative_unscaled", {"scale_parameter": False, "weight_decay": 0.1, "decay_rate": -0.5}, {}),
    ("relative_beta1", {"beta1": 0.9, "weight_decay": 0.1}, {}),
    ("warmup_beta1", {"warmup_init": True, "beta1": 0.8}, {}),
    ("scaled_lr", {"lr": 0.05, "relative_step": False, "weight_decay": 0.1, "eps": [1e-30, 0.5]}, {}),
    ("eps", {"lr": 0.01, "relative_step": False, "scale_parameter": False, "eps": [1e-2, 0.001], "clip_threshold": 2.0}, {}),
    ("edge", {"weight_decay": 0.1}, EDGE),
    ("edge_beta1", {"lr": 0.01, "relative_step": False, "scale_parameter": False, "beta1": 0.9, "decay_rate": -1.0}, EDGE),
    ("zeros", {}, {"init": "zeros"}),
    ("warmup10", {"lr": 0.01, "relative_step": False, "weight_decay": 0.1}, {"schedule": "warmup10"}),
    ("odd", {"beta1": 0.9}, {"params": ODD}),
])

series("came", {"lr": 0.002, "eps": [1e-30, 1e-16], "clip_threshold": 1.0, "betas": [0.9, 0.999, 0.9999], "weight_decay": 0.0}, [
    ("betas", {"betas": [0.8, 0.9, 0.95], "weight_decay": 0.1}, {}),
    ("clip", {"clip_threshold": 0.3}, {}),
    ("clip_large", {"clip_threshold": 10.0, "betas": [0.9, 0.95, 0.995]}, {}),
    ("eps", {"eps": [1e-3, 1e-4], "weight_decay": 0.1}, {}),
    ("edge_first", {"weight_decay": 0.1, "betas": [0.9, 0.95, 0.995]}, EDGE),
    ("zeros", {"weight_decay": 0.1}, {"init": "zeros"}),
    ("warmup", {"lr": 0.01, "weight_decay": 0.1}, {"schedule": "warmup10"}),
    ("odd", {"weight_decay": 0.1}, {"params": ODD}),
    ("bias_correction", {"bias_correction": True, "weight_decay": 0.1}, {}),
    ("bias_correction_edge", {"bias_correction": True, "betas": [0.8, 0.9, 0.95], "clip_threshold": 0.5}, EDGE),
])

ADAM = {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-6, "weight_decay": 0.0, "correct_bias": True}


def low_rank(optimizer, extra, cases):
    """Cases with a plain group first, and a group of matrices."""
    for name, changes, settings in cases:
        settings = dict(settings)
        shared = {k: changes[k] for k in ADAM.keys() & changes.keys()}
        matrices = settings.pop("params", MATRICES)
        add(optimizer, name, [(["vec", "scalar"], ADAM | shared), (matrices, extra | ADAM | changes)], **settings)


low_rank("galore", {"rank": 4, "update_proj_gap": 10, "scale": 0.25, "proj_type": "std"}, [
    ("left", {"proj_type": "left", "weight_decay": 0.1}, {}),
    ("right", {"proj_type": "right", "scale": 2.0}, {}),
    ("rev", {"proj_type": "reverse_std", "betas": [0.8, 0.95]}, {}),
    ("full_wd", {"proj_type": "full", "weight_decay": 0.1, "update_proj_gap": 1000}, {}),
    ("r1", {"rank": 1}, {}),
    ("r1_full", {"rank": 1, "proj_type": "full"}, {}),
    ("rank_above", {"rank": 100, "weight_decay": 0.1}, {}),
    ("rank_above_left", {"rank": 100, "proj_type": "left"}, {}),
    ("gap1", {"update_proj_gap": 1}, {}),
    ("no_correction", {"correct_bias": False, "eps": 1e-3, "weight_decay": 0.1}, {}),
    ("edge", {"update_proj_gap": 7}, {"zero": [5, 20], "huge": [12]}),
    ("edge_first", {"update_proj_gap": 7}, EDGE),
    ("zeros", {"weight_decay": 0.1}, {"init": "zeros"}),
    ("warmup", {"weight_decay": 0.1}, {"schedule": "warmup10"}),
    ("odd", {"rank": 2}, {"params": ["dot", "row", "column"]}),
])
add("galore", "groups", [
    (["vec"], ADAM | {"lr": 0.003}), (["wide"], ADAM | {"rank": 2, "update_proj_gap": 5, "scale": 1.0, "proj_type": "std", "lr": 0.02}),
    (["tall", "square"], ADAM | {"rank": 3, "update_proj_gap": 8, "scale": 0.5, "proj_type": "right", "weight_decay": 0.1}),
])

low_rank("fira", {"rank": 4, "update_proj_gap": 10, "alpha": 1.0, "proj_type": "std"}, [
    ("left", {"rank": 3, "proj_type": "left", "alpha": 0.25, "weight_decay": 0.1}, {}),
    ("right", {"rank": 3, "proj_type": "right"}, {}),
    ("rev", {"rank": 3, "proj_type": "reverse_std", "alpha": 0.5}, {}),
    ("r1", {"rank": 1, "alpha": 0.25}, {}),
    ("r1_full", {"rank": 1, "proj_type": "full", "alpha": 0.5}, {}),
    ("rank_above", {"rank": 100, "alpha": 0.25}, {}),
    ("rank_above_left", {"rank": 100, "proj_type": "left", "alpha": 0.5}, {"params": ["wide", "square"]}),
    ("alpha_large", {"alpha": 2.0, "weight_decay": 0.1, "betas": [0.8, 0.95]}, {}),
    ("gap1", {"update_proj_gap": 1}, {}),
    ("no_correction", {"correct_bias": False, "eps": 1e-3}, {}),
    ("edge_first", {"update_proj_gap": 7}, EDGE),
    ("huge", {"alpha": 0.25}, {"huge": [1, 15]}),
    ("whole_residual", {"alpha": 0.25}, {"instance": {"whole_residual": True}}),
    ("no_limiter", {}, dict(EDGE, instance={"disable_nl": True})),
    ("ignores_zero", {"update_proj_gap": 7}, dict(EDGE, instance={"limiter_ignores_zero": True})),
    ("zeros", {"weight_decay": 0.1}, {"init": "zeros"}),
    ("warmup", {"weight_decay": 0.1}, {"schedule": "warmup10"}),
])

APOLLO = {"rank": 4, "proj": "random", "scale_type": "channel", "scale": 1, "update_proj_gap": 10, "proj_type": "std"}
low_rank("apollo", APOLLO, [
    ("tensor", {"scale_type": "tensor", "scale": 16, "weight_decay": 0.1}, {}),
    ("tensor_left", {"scale_type": "tensor", "proj_type": "left"}, {}),
    ("tensor_right", {"scale_type": "tensor", "proj_type": "right", "proj": "svd"}, {}),
    ("tensor_rev", {"scale_type": "tensor", "proj_type": "reverse_std", "scale": 4}, {}),
    ("tensor_rev_svd", {"scale_type": "tensor", "proj_type": "reverse_std", "proj": "svd", "rank": 100}, {}),
    ("tensor_full_svd", {"scale_type": "tensor", "proj_type": "full", "proj": "svd", "update_proj_gap": 1000, "betas": [0.9, 0.95]}, {}),
    ("left", {"proj_type": "left"}, {"params": ["wide"]}),
    ("right", {"proj_type": "right", "scale": 9}, {"params": ["tall", "square"]}),
    ("rank_of_side", {"proj_type": "right", "rank": 7}, {"params": ["row"]}),
    ("r1_left", {"rank": 1, "proj_type": "left", "scale": 4}, {}),
    ("r1_right", {"rank": 1, "proj_type": "right"}, {}),
    ("r1_rev", {"rank": 1, "proj_type": "reverse_std", "proj": "svd", "scale": 9}, {}),
    ("r1", {"rank": 1, "weight_decay": 0.1}, {}),
    ("r1_front", {"rank": 1, "scale": 4}, {"instance": {"scale_front": True}}),
    ("rank_above", {"rank": 20}, {}),
    ("rank_above_svd", {"rank": 100, "proj": "svd"}, {}),
    ("no_limiter", {"scale": 4}, {"instance": {"disable_nl": True}}),
    ("no_limiter_front", {"scale": 4, "weight_decay": 0.1}, {"instance": {"disable_nl": True, "scale_front": True}}),
    ("no_limiter_edge", {"update_proj_gap": 7}, dict(EDGE, instance={"disable_nl": True})),
    ("no_correction", {"correct_bias": False, "eps": 1e-3, "betas": [0.8, 0.95]}, {}),
    ("gap1", {"update_proj_gap": 1}, {}),
    ("edge_first", {"update_proj_gap": 7}, EDGE),
    ("huge", {}, {"huge": [1, 15]}),
    ("ignores_zero", {"update_proj_gap": 7}, dict(EDGE, instance={"limiter_ignores_zero": True})),
    ("svd_edge", {"proj": "svd", "update_proj_gap": 7}, EDGE),
    ("zeros", {"weight_decay": 0.1}, {"init": "zeros"}),
    ("warmup", {"weight_decay": 0.1}, {"schedule": "warmup10"}),
    ("odd", {"rank": 2}, {"params": ["dot", "row", "column"]}),
])
low_rank("apollo_mini", APOLLO | {"rank": 1, "scale_type": "tensor", "scale": 128}, [
    ("wd", {"weight_decay": 0.1, "scale": 32}, {}),
    ("svd", {"proj": "svd"}, {}),
    ("left", {"proj_type": "left"}, {}),
    ("right", {"proj_type": "right", "scale": 192}, {}),
    ("no_limiter", {}, {"instance": {"disable_nl": True}}),
    ("front_edge", {"update_proj_gap": 7}, dict(EDGE, instance={"scale_front": True})),
    ("huge", {}, {"huge": [1, 15]}),
    ("zeros", {"weight_decay": 0.1}, {"init": "zeros"}),
    ("warmup_betas", {"betas": [0.8, 0.95], "correct_bias": False}, {"schedule": "warmup10"}),
])

AUXILIARY = {"lr": 0.003, "betas": [0.9, 0.95], "eps": 1e-10, "use_muon": False, "weight_decay": 0.0}
KOZISTR = {"use_muon": True, "lr": 0.02, "momentum": 0.95, "nesterov": True, "weight_decay": 0.0, "ns_steps": 5, "use_adjusted_lr": False, "weight_decouple": True}
F32 = "float32 (computed in float64)"


def muon(optimizer, extra, auxiliary, cases):
    for name, changes, settings in cases:
        settings = dict(settings)
        add(optimizer, name, [(["vec", "scalar"], auxiliary | settings.pop("aux", {})), (settings.pop("params", MATRICES), extra | changes)], **({"dtype": F32} | settings))


muon("muon_kozistr", KOZISTR, AUXILIARY | {"weight_decouple": True}, [
    ("adjusted", {"use_adjusted_lr": True}, {"params": [*MATRICES, "cube"]}),
    ("wd", {"weight_decay": 0.1}, {"params": [*MATRICES, "cube"], "aux": {"weight_decay": 0.1}}),
    ("coupled", {"weight_decay": 0.1, "weight_decouple": False}, {"aux": {"weight_decay": 0.1, "weight_decouple": False}}),
    ("no_nesterov", {"nesterov": False, "momentum": 0.9}, {}),
    ("one_step", {"ns_steps": 1, "momentum": 0.8}, {}),
    ("edge", {}, dict(EDGE, aux={"betas": [0.8, 0.99], "eps": 1e-2})),
    ("zeros_adjusted", {"use_adjusted_lr": True, "weight_decay": 0.1}, {"init": "zeros"}),
    ("warmup", {"weight_decay": 0.1}, {"schedule": "warmup10"}),
    ("odd", {}, {"params": ["dot", "row", "column", "kernel"]}),
    ("bf16", {"use_adjusted_lr": True}, {"dtype": "bfloat16 (emulated)"}),
])
add("muon_kozistr", "groups", [
    (["vec"], AUXILIARY | {"weight_decouple": True}), (["scalar"], AUXILIARY | {"lr": 0.02, "betas": [0.8, 0.9], "weight_decouple": True}),
    (["wide", "cube"], KOZISTR), (["tall", "square"], KOZISTR | {"lr": 0.005, "momentum": 0.8, "use_adjusted_lr": True}),
], dtype=F32)

muon("muon_kj", {"use_muon": True, "lr": 0.02, "momentum": 0.95, "weight_decay": 0.0}, AUXILIARY, [
    ("wd", {"weight_decay": 0.1, "momentum": 0.9}, {"aux": {"weight_decay": 0.1}}),
    ("edge", {}, dict(EDGE, aux={"betas": [0.8, 0.99], "eps": 1e-2})),
    ("zeros", {"weight_decay": 0.1}, {"init": "zeros"}),
    ("warmup", {}, {"schedule": "warmup10"}),
    ("batch", {}, {"params": ["cube", "tall"]}),
    ("kernel", {}, {"params": ["kernel", "dot", "row", "column"]}),
    ("bf16", {}, {"dtype": "bfloat16 (emulated)"}),
])

series("lion", {"lr": 0.003, "betas": [0.9, 0.99], "weight_decay": 0.0}, [
    ("default", {}, {}),
    ("wd_betas", {"betas": [0.95, 0.98], "weight_decay": 1.0}, {}),
    ("warmup", {"weight_decay": 0.1}, {"schedule": "warmup10"}),
    ("edge", {"weight_decay": 0.1}, EDGE),
    ("zeros", {}, {"init": "zeros"}),
    ("odd", {}, {"params": ODD}),
])

series("adam_mini", {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0, "blocks": "rows", "head_lines": 0, "head_size": 1}, [
    ("rows", {}, {}),
    ("columns", {"blocks": "columns", "weight_decay": 0.1}, {}),
    ("tensor", {"blocks": "tensor", "betas": [0.8, 0.95]}, {}),
    ("heads", {"head_lines": 4, "head_size": 2}, {"params": MATRICES}),
    ("heads_columns", {"blocks": "columns", "head_lines": 4, "head_size": 2, "eps": 1e-3}, {"params": MATRICES}),
    ("edge", {"weight_decay": 0.1}, EDGE),
    ("zeros", {"weight_decay": 0.1}, {"init": "zeros"}),
    ("warmup", {"weight_decay": 0.1}, {"schedule": "warmup10"}),
    ("odd", {}, {"params": ODD}),
])
