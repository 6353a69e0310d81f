using ILGpuOptim.Cli.Commands;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Tests;

/// <summary>Messages name settings as their reader knows them: a program its properties, the tool its flags.</summary>
public class SettingNamesTests
{
    [Fact]
    public void ProgramsReadPropertiesAndTheToolFlags()
    {
        TrainingSettings settings = new() { Layerwise = true };
        UserException error = Assert.Throws<UserException>(settings.Check);
        Assert.Equal("Layerwise updates parameters before the norm of all gradients is known, so it cannot clip by it (Clip 1); add Clip 0", error.Message);
        Assert.Equal("--layerwise updates parameters before the norm of all gradients is known, so it cannot clip by it (--clip 1); add --clip 0", error.InFlags());
    }

    [Fact]
    public void TextIsNoName()
    {
        UserException error = UserException.NamingSettings($"{"Steps"}: {"{0} --lr"} {nameof(TrainingSettings.Steps):setting} {1234.5:N1} {null}.");
        Assert.Equal("Steps: {0} --lr --steps 1,234.5 .", error.InFlags());
    }

    /// <summary>A message may be part of another one.</summary>
    [Fact]
    public void NamesSurviveInOtherMessages()
    {
        var inner = new SettingException("Optimizer.Beta1", "2", "it must be a number of at least 0 and below 1");
        FormattableString part = $"with {nameof(TrainingSettings.Block):setting} {3}";
        UserException outer = UserException.NamingSettings($"adamw, {part}: {inner}", inner);
        Assert.Equal("adamw, with Block 3: Optimizer.Beta1 2: it must be a number of at least 0 and below 1", outer.Message);
        Assert.Equal("adamw, with --block 3: --beta1 2: it must be a number of at least 0 and below 1", outer.InFlags());
        Assert.Equal("plain", new UserException("plain").InFlags());
    }

    [Theory]
    [InlineData("Steps", "--steps")]
    [InlineData("validation", "--validation")]
    [InlineData("Optimizer.LearningRateFor", "--lr-for")]
    [InlineData("NoDecay", "--no-decay")]
    [InlineData("Targets", "--lora-targets")]
    [InlineData("TrainingRun.Resume", "--resume")]
    [InlineData("folder", "--out")]
    [InlineData("Optimizer.Form", "--form")]
    [InlineData("Optimizer.NoSuchOption", "optimizer.no_such_option")]
    public void SettingsHaveTheirFlags(string path, string flag) => Assert.Equal(flag, SettingFlags.NameOf(path));
}

internal static class UserExceptionMessages
{
    /// <summary>The message as the tool shows it.</summary>
    public static string InFlags(this UserException error) => error.MessageWith(SettingFlags.NameOf);
}
