#!/usr/bin/env dotnet
#:project ../src/ILGpuOptim.Extensions.AI/ILGpuOptim.Extensions.AI.csproj

// Asks a model a question through IChatClient: dotnet run -c Release samples/chat-client.cs RUN "What is the capital of Peru?"
using ILGpuOptim.Extensions.AI;
using Microsoft.Extensions.AI;

using IChatClient client = ModelChatClient.Open(args[0]);
await foreach (ChatResponseUpdate update in client.GetStreamingResponseAsync(args[1], new ChatOptions { Temperature = 0 }))
    Console.Write(update.Text);
Console.WriteLine();
