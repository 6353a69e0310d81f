"""More cases that make.py records, after those of cases.py: the second set of optimizers, and slips that were found in ours."""

from cases import ALL, MATRICES, ODD

REST = {"zero": list(range(1, 31)), "huge": []}
FIRST = {"zero": [1, 7], "huge": []}
EDGE = {"zero": [5, 20], "huge": [12]}
SMALL = 4.0232465e-6  # of the parameter, which lr times the decay takes in a step: in f32, 1 minus this has nearly the largest error
CASES2 = []


def series(optimizer, hyper, cases, instance=None, params=ALL):
    """Cases of one group: a name, what differs from the hyper-parameters, what differs from the options of the whole optimizer, and settings of the case."""
    for name, changes, options, settings in cases:
        settings = dict(settings)
        groups = [{"params": settings.pop("params", params), "hyper": hyper | changes}]
        CASES2.append((optimizer, name, dict(settings, groups=groups, instance=(instance or {}) | options)))


series("came", {"lr": 0.002, "eps": [1e-30, 1e-16], "clip_threshold": 1.0, "betas": [0.9, 0.999, 0.9999], "weight_decay": SMALL / 0.002}, [("rest", {}, {}, REST)])
series("adafactor_hf", {
    "lr": 0.002, "eps": [1e-30, 0.001], "clip_threshold": 1.0, "decay_rate": -0.8, "beta1": None, "weight_decay": SMALL / 0.002, "scale_parameter": False, "relative_step": False,
    "warmup_init": False,
}, [("rest", {}, {}, REST)])

series("adopt", {"lr": 0.005, "betas": [0.9, 0.9999], "eps": 1e-6, "weight_decay": 0.5, "decouple": True}, [
    ("rest", {"weight_decay": SMALL / 0.005}, {}, REST),
    ("no_clip", {"decouple": False, "eps": 0.01}, {"clip": None}, {"schedule": "warmup10"}),
    ("root", {"betas": [0.0, 0.9]}, {"clip": "t^0.5"}, EDGE),
    ("first", {"weight_decay": 0.0}, {}, FIRST),
], {"clip": "t^0.25"})

series("ademamix", {"lr": 0.005, "betas": [0.9, 0.999, 0.9999], "eps": 1e-8, "alpha": 2.0, "beta3_warmup": None, "alpha_warmup": None, "weight_decay": 0.1}, [
    ("no_fast", {"betas": [0.0, 0.99, 0.999], "beta3_warmup": 8, "alpha_warmup": 12}, {}, {}),
    ("long_warmup", {"beta3_warmup": 100, "alpha_warmup": 200, "alpha": 8.0}, {}, {"schedule": "warmup10"}),
    ("first", {"eps": 0.01}, {}, FIRST),
])

MARS = {"lr": 0.005, "betas": [0.95, 0.99], "eps": 1e-8, "weight_decay": 0.05, "amsgrad": False, "mars_type": "mars-adamw", "gamma": 0.025, "optimize_1d": False, "weight_decay_1d": 0.1}
WHOLE = {"eps": 1e-8, "gamma": 0.025, "mars_type": "mars-adamw", "optimize_1d": False, "lr_1d_factor": 0.5, "betas_1d": [0.9, 0.95], "weight_decay_1d": 0.1, "is_approx": True}
series("mars", MARS, [
    ("lion", {}, {"mars_type": "mars-lion"}, {}),
    ("lion_all", {}, {"mars_type": "mars-lion", "optimize_1d": True}, EDGE),
    ("largest", {"amsgrad": True}, {"gamma": 1.0}, EDGE),
    ("first", {"betas": [0.0, 0.9]}, {"lr_1d_factor": 3.0, "eps": 0.01}, FIRST),
], WHOLE)

series("stable_spam", {"lr": 0.005, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.05, "amsgrad": False}, [
    ("past_cosine", {}, {"total_T": 12, "eta_min": 0.1}, {}),
    ("own_gamma", {"amsgrad": True}, {"gamma1": -1, "update_proj_gap": 7}, EDGE),
    ("each_step", {"betas": [0.0, 0.9]}, {"update_proj_gap": 1, "gamma3": 0.5}, FIRST),
], {"gamma1": 0.7, "gamma2": 0.9, "gamma3": 0.999, "total_T": None, "eta_min": 0.5, "update_proj_gap": 0})

series("prodigy", {
    "lr": 1.0, "betas": [0.9, 0.999], "beta3": None, "eps": 1e-8, "weight_decay": 0.0, "d0": 0.01, "d_coef": 1.0, "growth_rate": 1.05, "use_bias_correction": False,
    "decouple": True, "safeguard_warmup": False, "slice_p": 1,
}, [
    ("slice", {"slice_p": 3, "weight_decay": 0.1}, {}, {}),
    ("no_mean", {"betas": [0.0, 0.99], "beta3": 0.9}, {}, {"init": "zeros"}),
    ("coupled", {"decouple": False, "weight_decay": 0.1, "d_coef": 0.5, "use_bias_correction": True}, {}, EDGE),
    ("safeguard", {"safeguard_warmup": True, "growth_rate": 1.1, "slice_p": 2}, {}, {"schedule": "warmup10", "zero": [1, 2], "huge": []}),
])

series("soap", {
    "lr": 0.003, "betas": [0.95, 0.95], "shampoo_beta": -1, "eps": 1e-8, "weight_decay": 0.1, "precondition_frequency": 5, "max_precond_dim": 10000, "merge_dims": False,
    "precondition_1d": False, "normalize_grads": False, "correct_bias": True,
}, [
    ("normalized", {"normalize_grads": True}, {}, {"params": ["wide", "vec", "cube", "number"]}),
    ("bounded", {"max_precond_dim": 5, "shampoo_beta": 0.8, "correct_bias": False}, {}, {}),
    ("vectors", {"precondition_1d": True, "precondition_frequency": 1}, {}, {"params": ["vec", "scalar", "tall"]}),
    ("frozen", {"max_precond_dim": 1, "normalize_grads": True, "betas": [0.0, 0.9]}, {}, {"params": ["wide", "vec"]}),
    ("first", {"betas": [0.9, 0.999], "eps": 1e-3}, {}, {"zero": [1], "huge": [], "params": ["wide", "tall", "vec", "kernel"]}),
])


def dion(optimizer, hyper, cases, instance):
    for name, changes, options, settings in cases:
        h, settings = hyper | changes, dict(settings)
        groups = [
            {"params": ["vec", "scalar"], "hyper": h | {"algorithm": settings.pop("auxiliary", "adamw")}},
            {"params": settings.pop("params", MATRICES), "hyper": h | {"algorithm": "dion"}},
        ]
        CASES2.append((optimizer, name, dict(settings, groups=groups, instance=instance | options)))


dion("dion_simple", {"lr": 0.01, "mu": 0.95, "beta1": 0.9, "beta2": 0.95, "weight_decay": 0.01}, [
    ("first", {}, {}, FIRST),
    ("lion", {"weight_decay": 0.1}, {"rank": 99}, {"auxiliary": "lion", "schedule": "warmup10"}),
    ("zero_start", {"weight_decay": 0.5}, {"epsilon": 0.1}, {"init": "zeros"}),
], {"rank": 3, "epsilon": 1e-8})
dion("dion", {"rank_fraction": 0.5, "rank_multiple_of": 1, "lr": 0.01, "mu": 0.95, "beta1": 0.9, "beta2": 0.95, "weight_decay": 0.01, "epsilon": 1e-8, "oversample": 1.25}, [
    ("first", {"weight_decay": 0.1}, {}, FIRST),
    ("multiple", {"rank_multiple_of": 4, "rank_fraction": 0.1}, {}, {"auxiliary": "lion"}),
    ("odd", {"rank_fraction": 1.0}, {}, {"params": [x for x in ODD if x in ("row", "column", "dot")]}),
], {"qr_method": "qr", "power_iters": 1})

series("stable_spam", {"lr": 0.005, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.05, "amsgrad": False}, [
    ("floor", {}, {"total_T": 12, "eta_min": 0.1, "holds_floor": True}, {}),
], {"gamma1": 0.7, "gamma2": 0.9, "gamma3": 0.999, "total_T": None, "eta_min": 0.5, "update_proj_gap": 0})
