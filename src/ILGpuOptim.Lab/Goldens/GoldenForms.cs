using System.Text.Json;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Lab;

/// <summary>Settings of recorded trajectories that are not options under another name: lists, roles, and choices between parameters.</summary>
internal static class GoldenForms
{
    /// <summary>The options of a parameter with these settings.</summary>
    public static OptimizerOptions Of(OptimizerOptions options, GoldenCase golden, GoldenParameter parameter, GoldenSettings hyper, GoldenSettings instance) => options switch
    {
        MuonOptions { Form: MuonForm.Torch } muon => Torch(muon, hyper),
        OrthogonalOptions muon and not MuonOptions => muon with { Orthogonalises = hyper.Flag("use_muon") },
        DionOptions dion => Dion(dion, hyper, instance),
        SoapOptions when hyper.Choice("data_format", true, ("channels_first", true)) => options,
        ScheduleFreeOptions when instance.Has("switch_steps") => options,
        ScaleOptions scale => Scale(scale, parameter, hyper, instance),
        _ => options,
    };

    /// <summary>ε is that of the norm, and the coefficients are a list.</summary>
    private static MuonOptions Torch(MuonOptions o, GoldenSettings hyper)
    {
        double[] coefficients = hyper.Numbers("ns_coefficients", 3) ?? [o.Coefficient1, o.Coefficient2, o.Coefficient3];
        return o with
        {
            Coefficient1 = coefficients[0],
            Coefficient2 = coefficients[1],
            Coefficient3 = coefficients[2],
            NormEpsilon = hyper.Number("eps", o.NormEpsilon),
            Scaling = hyper.Choice("adjust_lr_fn", MuonScaling.Original, ("original", MuonScaling.Original), ("match_rms_adamw", MuonScaling.Moonlight)),
        };
    }

    /// <summary>An algorithm for each group; the ways to orthonormalise agree, and oversampling belongs to one of them.</summary>
    private static DionOptions Dion(DionOptions o, GoldenSettings hyper, GoldenSettings instance)
    {
        string algorithm = hyper.Choice("algorithm", "dion", ("dion", "dion"), ("adamw", "adamw"), ("lion", "lion"));
        foreach (GoldenSettings settings in (GoldenSettings[])[hyper, instance])
        {
            settings.Choice("qr_method", true, ("qr", true), ("cqr", true), ("rcqr", true));
            settings.Number("oversample", 0);
        }

        return o with { Orthogonalises = algorithm == "dion", Auxiliary = algorithm == "lion" ? DionAuxiliary.Lion : DionAuxiliary.Adamw };
    }

    /// <summary>Roles are listed by parameter; the rate of vectors is relative to the largest one.</summary>
    private static ScaleOptions Scale(ScaleOptions o, GoldenParameter parameter, GoldenSettings hyper, GoldenSettings instance)
    {
        double[] betas = hyper.Numbers("adamw_betas", 2) ?? [o.Beta1, o.Beta2];
        double largest = instance.Number("max_lr", hyper.Number("lr", o.LearningRate));
        return o with
        {
            Role = instance.Of("roles").Choice(parameter.Name, ScaleRole.Hidden, ("main", ScaleRole.Hidden), ("embed", ScaleRole.Embedding), ("secondary", ScaleRole.LastLayer), ("oned", ScaleRole.Vector)),
            WeightDecay = hyper.Number("wd", 0),
            VectorRate = hyper.Number("adam_lr", largest) / largest,
            Beta1 = betas[0],
            Beta2 = betas[1],
            Epsilon = hyper.Number("adamw_eps", o.Epsilon),
        };
    }

    /// <summary>True for a basis whose columns are known up to their signs.</summary>
    /// <param name="golden">The case.</param>
    /// <param name="state">The state's name.</param>
    /// <param name="isTransposed">True if our rows are its columns.</param>
    public static bool IsBasis(GoldenCase golden, string state, out bool isTransposed)
    {
        isTransposed = state.StartsWith("Q.", StringComparison.Ordinal);
        return isTransposed || (state == "Q" && golden.Optimizer is "dion" or "dion_simple");
    }

    /// <summary>The recorded value of a number of the whole optimizer that is 1 here: the optimizer's is relative to the learning rate.</summary>
    public static double UnitOf(string name, JsonElement hyper) => name switch
    {
        "lr_max" => hyper.GetProperty("lr").GetDouble(),
        "weight_sum" => Math.Pow(hyper.GetProperty("lr").GetDouble(), hyper.GetProperty("weight_lr_power").GetDouble()),
        _ => 1,
    };
}
