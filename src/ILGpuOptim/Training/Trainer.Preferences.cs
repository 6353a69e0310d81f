using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Training;

// Direct preference optimization: the loss of pairs of answers, against log-probabilities of the model that training began with.
public sealed partial class Trainer
{
    /// <summary>The log-probabilities of the reference model; required before steps and validations with pairs.</summary>
    internal ReferenceScores? References { get; set; }

    /// <summary>
    /// The log-probability of every answer, summed over its tokens, by the model as it is now. Before the first step it is the reference: adapters begin as
    /// the identity.
    /// </summary>
    internal ReferenceScores ScoreAnswers()
    {
        Tape.IsTraining = Tape.IsRecording = false;
        try
        {
            return new ReferenceScores(Score(onTraining: true), Score(onTraining: false));
        }
        finally
        {
            Tape.Reset();
        }
    }

    private float[] Score(bool onTraining)
    {
        float[] scores = new float[(onTraining ? data.TrainingDocuments : data.ValidationDocuments)!.Count];
        double[] sums = new double[batches.Length];
        for (long window = 0; window < batches.PairWindows(onTraining); window += batches.PairWindowsPerBatch)
        {
            batches.FillPairs(onTraining, window);
            PairBatch pairs = batches.Pairs!;
            float[] losses = Model.TokenLosses(Tape, batches.Tokens, batches.Targets, out _).ToArray();
            Tape.Reset();
            Array.Clear(sums);
            for (int i = 0; i < losses.Length; i++)
                sums[pairs.Entries[i]] -= losses[i];
            for (int entry = 0; entry < sums.Length; entry++)
            {
                if (pairs.Lengths[entry] > 0)
                    scores[pairs.Conversations[entry]] = (float)sums[entry];
            }
        }

        return scores;
    }

    /// <summary>The loss of the current batch, times a weight, and what is recorded of it.</summary>
    private BatchLosses LossOfBatch(float weight, bool onTraining)
    {
        if (batches.Pairs is { } pairs)
            return LossOfPairs(pairs, weight, onTraining);
        LossParts parts = Model.Losses(Tape, batches.Tokens, batches.Targets, weight);
        return new BatchLosses(parts.Total, parts.CrossEntropy, null, null);
    }

    private BatchLosses LossOfPairs(PairBatch pairs, float weight, bool onTraining)
    {
        float[] known = (References ?? throw new InvalidOperationException("the log-probabilities of the reference model are not known")).Of(onTraining);
        DpoOptions options = Settings.Dpo;
        int size = pairs.Lengths.Length;
        float[] scales = new float[size], references = new float[size], weights = new float[pairs.Capacity], likelihoods = new float[options.SftWeight > 0 ? size : 0];
        for (int entry = 0; entry < size; entry++)
        {
            if (pairs.Lengths[entry] == 0)
                continue;
            scales[entry] = (float)(options.Beta / (options.LengthNormalized ? pairs.Lengths[entry] : 1));
            references[entry] = known[pairs.Conversations[entry]];
        }

        weights.AsSpan(0, pairs.Count).Fill(weight / pairs.Count);
        Tensor losses = Model.TokenLosses(Tape, batches.Tokens, batches.Targets, out Tensor? router);
        Tensor rewards = Tape.Apply(new Reward(), Tape.IndexAdd(Tape.Zeros(size), 0, pairs.Entries, losses), Tape.Constant(references), Tape.Constant(scales));
        Tensor chosen = Tape.Slice(rewards, 0, ..pairs.Capacity), rejected = Tape.Slice(rewards, 0, pairs.Capacity..), shares = Tape.Constant(weights);
        Tensor objective = Tape.Sum(Tape.Multiply(Tape.PreferenceLoss(chosen, rejected, options), shares)), total = objective;
        Tensor difference = Tape.Subtract(Tape.Detach(chosen), Tape.Detach(rejected));
        Tensor margin = Tape.Sum(Tape.Multiply(difference, shares)), accuracy = Tape.Sum(Tape.Multiply(Tape.Greater(difference, 0), shares));
        if (options.SftWeight > 0)
        {
            for (int i = 0; i < size; i++)
            {
                if (batches.Targets[i] >= 0 && pairs.Entries[i] < pairs.Capacity)
                    likelihoods[i] = (float)(options.SftWeight * weight / pairs.Count / pairs.Lengths[pairs.Entries[i]]);
            }

            total = Tape.Add(total, Tape.Sum(Tape.Multiply(losses, Tape.Constant(likelihoods))));
        }

        if (router is not null)
            total = Tape.Add(total, Tape.Affine(router, weight));
        total.IsKept = objective.IsKept = true;
        return new BatchLosses(total, objective, margin, accuracy);
    }

    /// <summary>A batch's loss: all of it, and without the routers' and the chosen answers' share; of pairs also the reward margin and the accuracy.</summary>
    private readonly record struct BatchLosses(Tensor Total, Tensor Objective, Tensor? Margin, Tensor? Accuracy)
    {
        /// <summary>The number of values of pairs: the objective, the margin and the accuracy.</summary>
        public const int Size = 3;

        /// <summary>Adds the loss, the margin and the accuracy to those of earlier batches of a step, around the gradient norm.</summary>
        public void AddTo(Device device, in Block measures, bool isFirst)
        {
            Add(Total, measures.Slice(0, 1));
            if (Margin is null)
                return;
            Add(Margin, measures.Slice(2, 1));
            Add(Accuracy!, measures.Slice(3, 1));

            void Add(Tensor value, in Block sum)
            {
                if (isFirst)
                    device.Copy(value.Data, sum);
                else
                    device.Map(new AddRule(), 1, 1, sum, value.Data);
            }
        }

        /// <summary>Copies the objective, and of pairs the margin and the accuracy.</summary>
        public void CopyObjective(Device device, in Block target)
        {
            device.Copy(Objective.Data, target.Slice(0, 1));
            if (Margin is null)
                return;
            device.Copy(Margin.Data, target.Slice(1, 1));
            device.Copy(Accuracy!.Data, target.Slice(2, 1));
        }
    }

    /// <summary>scale · (-loss - reference): β times the logarithm of an answer's probability over that of the reference.</summary>
    private readonly struct Reward : IFunction3
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Apply<L>(L loss, L reference, L scale) where L : struct, ILane<L> => -scale * (loss + reference);
    }
}
