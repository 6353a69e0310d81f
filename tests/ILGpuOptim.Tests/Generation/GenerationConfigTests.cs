using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Generation;

public sealed class GenerationConfigTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("""{"eos_token_id": 5}""", """{"eos_token_id": 7}""", new[] { 5 })]
    [InlineData("""{"eos_token_id": [5, 6]}""", "{}", new[] { 5, 6 })]
    [InlineData("""{"eos_token_id": null}""", """{"eos_token_id": 7}""", new[] { 7 })]
    [InlineData("{}", "{}", new int[0])]
    public void TheEndIsThatOfTheFirstFileThatNamesOne(string generation, string config, int[] expected)
    {
        Write(generation, config);
        Assert.Equal(expected, GenerationConfig.Of(folder.Path).EndTokens);
    }

    [Theory]
    [InlineData("""{"eos_token_id": "5"}""")]
    [InlineData("""{"eos_token_id": [5, null]}""")]
    [InlineData("""{"eos_token_id": -1}""")]
    [InlineData("""{"eos_token_id": 1e99}""")]
    [InlineData("[5]")]
    public void IdsThatAreNoneAreRefused(string generation)
    {
        Write(generation, "{}");
        Assert.Contains("generation_config.json", Assert.Throws<UserException>(() => GenerationConfig.Of(folder.Path)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"do_sample": true, "temperature": 1.0, "top_p": 1, "top_k": 0, "num_beams": 1, "bad_words_ids": [], "pad_token_id": 0, "transformers_version": "4.57.1", "new_setting": null}""")]
    [InlineData("""{"temperature": 0.6, "top_p": 0.9}""", "temperature = 0.6", "top_p = 0.9")]
    [InlineData("""{"repetition_penalty": 1.1, "suppress_tokens": [3], "new_setting": 1}""", "repetition_penalty = 1.1", "suppress_tokens = [3]", "new_setting = 1")]
    public void SettingsThatWouldChangeTheTextAreNamed(string generation, params string[] expected)
    {
        Write(generation, "{}");
        Assert.Equal(expected, GenerationConfig.Of(folder.Path).NotApplied);
    }

    private void Write(string generation, string config)
    {
        File.WriteAllText(folder["generation_config.json"], generation);
        File.WriteAllText(folder["config.json"], config);
    }
}
