#!/usr/bin/env dotnet
#:project ../src/ILGpuOptim/ILGpuOptim.csproj

// Trains a small GPT-2 on the embedded text and lets it speak: dotnet run -c Release samples/train-gpt2.cs
using ILGpuOptim;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Generation;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

using var device = new CpuDevice();
var tokenizer = CharTokenizer.From(DefaultCorpus.Text);
var data = Dataset.FromText(DefaultCorpus.Text, tokenizer, validationFraction: 0.1, DefaultCorpus.Name);
var settings = new TrainingSettings { Steps = 300, Block = 64, Batch = 12, Optimizer = new OptimizerSettings { Name = "apollo", LearningRate = 3e-3 }.With("rank", 32) };
var config = new Gpt2Config { VocabularySize = data.VocabularySize, ContextLength = settings.Block, Layers = 4, Heads = 4, HiddenSize = 128 };

using LanguageModel model = config.Create(new Initializer(device, seed: 1));
using var trainer = new Trainer(device, model, data, settings);
while (trainer.StepNumber < settings.Steps)
{
    StepResult step = trainer.Step();
    if (step.Step % 50 == 0)
        Console.WriteLine($"step {step.Step}: loss {step.Loss:F3}, validation {trainer.Validate(20):F3}");
}

int[] prompt = tokenizer.Encode("And God said");
var text = new TextGenerator(model, device).Continue(prompt, 200, new SamplingOptions());
Console.WriteLine("And God said" + tokenizer.Decode([.. text]));
