namespace ILGpuOptim.Compute;

// Products with bf16 results on devices whose kernels write f32.
public abstract partial class Device
{
    private void GemmThroughF32<R>(in GemmArguments arguments, in R epilogue, ReadOnlySpan<Operand> operands) where R : unmanaged, IMap6
    {
        long rows = (long)arguments.Batch * arguments.M;
        Block wide = Pool.Rent(rows * arguments.N);
        var result = new Operand(arguments.C, Layout.Full, arguments.StrideC);
        if (arguments.Beta != 0)
            MapCore(new Lift2<CopyRule>(new CopyRule()), rows, arguments.N, [result, wide]);
        GemmCore(arguments with { C = wide, StrideC = 0, BatchStrideC = (long)arguments.M * arguments.N }, epilogue, operands);
        MapCore(new Lift2<CopyRule>(new CopyRule()), rows, arguments.N, [wide, result]);
        Pool.Return(wide);
    }
}
