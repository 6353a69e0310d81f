#!/usr/bin/env bash
# Packs what is built, installs the tool and the library from a local feed as a user would, and runs both.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
dotnet pack ILGpuOptim.sln -c Release --no-build -o "$work/feed" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }

# Packages of this version from the feed, never from a cache; all others from where the machine gets them.
version=$(basename "$work"/feed/ILGpuOptim.Cli.*.nupkg .nupkg)
version=${version#ILGpuOptim.Cli.}
export NUGET_PACKAGES=$work/cache
mkdir "$work/program" "$work/tool-run"
dotnet tool install ILGpuOptim.Cli --version "$version" --tool-path "$work/tool" --add-source "$work/feed" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
(cd "$work/tool-run" && "$work/tool/ilgpuoptim" train --preset tiny --steps 5 --eval-batches 1 --out run >"$work/log" 2>&1) || { cat "$work/log"; exit 1; }
grep -q '^done  *5 steps' "$work/log" || { cat "$work/log"; exit 1; }

fail() { echo "package-test: $1"; cat "$work/log"; exit 1; }

# The tool holds the configurations of models/.
(cd "$work/tool-run" && "$work/tool/ilgpuoptim" memory llama-7b --optimizer apollo-mini) >"$work/log" 2>&1 || fail "memory llama-7b"
grep -q '^model .*6,738,415,616 parameters' "$work/log" || fail "the model of memory llama-7b"
(cd "$work/tool-run" && "$work/tool/ilgpuoptim" train --model gpt2-124m --layers 1 --hidden-size 32 --heads 2 --block 16 --batch 2 --steps 2 --eval-batches 0 --out named) >"$work/log" 2>&1 || fail "train --model"

# A shell completes commands, flags and values with the script that the tool prints.
cat >"$work/complete" <<'SCRIPT'
source <(ilgpuoptim completion bash)
COMP_LINE="ilgpuoptim train --optimizer apo"
COMP_POINT=${#COMP_LINE} COMP_CWORD=3
read -ra COMP_WORDS <<<"$COMP_LINE"
_ilgpuoptim
echo "${COMPREPLY[@]}"
SCRIPT
PATH="$work/tool:$PATH" bash "$work/complete" >"$work/log" 2>&1
[ "$(cat "$work/log")" = "apollo apollo-mini" ] || fail "completion in bash"

# The library: without the package of data formats they are refused by name, with it they are read.
cd "$work/program"
cat >nuget.config <<CONFIG
<configuration>
  <packageSources>
    <add key="feed" value="$work/feed" />
  </packageSources>
</configuration>
CONFIG
cat >program.csproj <<'PROJECT'
<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup>
    <OutputType>Exe</OutputType>
    <TargetFramework>net10.0</TargetFramework>
    <ImplicitUsings>enable</ImplicitUsings>
  </PropertyGroup>
</Project>
PROJECT
cat >Program.cs <<'PROGRAM'
using ILGpuOptim;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Ops;

using var device = new CpuDevice();
using var tape = new Tape(device);
Console.WriteLine(tape.Constant([1, 2, 3], 3).Square().Sum().Item());
File.WriteAllText("a.parquet", "not Parquet");
foreach (Func<int> read in (Func<int>[])[() => Tokenizers.Open("o200k").Encode("two tokens").Length, () => new DocumentSource().Read("a.parquet").Count()])
{
    try
    {
        Console.WriteLine(read());
    }
    catch (UserException e)
    {
        Console.WriteLine(e.Message);
    }
}
PROGRAM
run() { dotnet run -c Release >"$work/log" 2>&1 || fail "the program with the library"; }
dotnet add package ILGpuOptim --version "$version" >"$work/log" 2>&1 || fail "dotnet add package ILGpuOptim"
run
[ "$(sed -n 1p "$work/log")" = 14 ] && [ "$(grep -c 'dotnet add package ILGpuOptim.Data$' "$work/log")" = 2 ] || fail "the library alone"
[ -z "$(find bin -name 'Parquet.dll' -o -name 'Google.Protobuf.dll' -o -name 'Microsoft.ML.Tokenizers*')" ] || fail "the library brings packages of ILGpuOptim.Data"
dotnet add package ILGpuOptim.Data --version "$version" >"$work/log" 2>&1 || fail "dotnet add package ILGpuOptim.Data"
run
[ "$(sed -n 2p "$work/log")" = 2 ] && grep -q 'a.parquet: it cannot be read as Parquet' "$work/log" || fail "the library with its data formats"

# The command line as a library: the sample refers to the package instead of the project.
sed "s|^#:project .*|#:package ILGpuOptim.CommandLine@$version|" "$OLDPWD/samples/my-optimizer.cs" >my-optimizer.cs
rm Program.cs program.csproj
dotnet run -c Release my-optimizer.cs -- check hesitant >"$work/log" 2>&1 || fail "the sample with its package"
grep -q ' passed, 0 failed' "$work/log" || fail "the sample's checks"

# A model in a C# program: the sample answers through IChatClient.
echo '{"prompt": "Hello?", "completion": "Yes."}' >talk.jsonl
"$work/tool/ilgpuoptim" train --data talk.jsonl --validation 0 --layers 1 --heads 2 --hidden-size 32 --block 100 --batch 2 --steps 120 --warmup 10 --lr 1e-2 --eval-batches 0 --out talk >"$work/log" 2>&1 ||
  fail "the run that talks"
sed "s|^#:project .*|#:package ILGpuOptim.Extensions.AI@$version|" "$OLDPWD/samples/chat-client.cs" >chat-client.cs
dotnet run -c Release chat-client.cs -- talk "Hello?" >"$work/log" 2>&1 || fail "the chat client with its package"
[ "$(tail -n 1 "$work/log")" = "Yes." ] || fail "the answer of the chat client"

# What a package holds: documentation of public members only, an icon, a README without relative links.
for package in "$work"/feed/*.nupkg; do
  unzip -qo "$package" -d "$work/content"
  [ -s "$work/content/icon.png" ] && [ -s "$work/content/README.md" ] || fail "$package lacks its icon or README"
  ! grep -E '\]\((docs|samples|src|LICENSE|\.\.)' "$work/content/README.md" || fail "$package has relative links"
  rm -r "$work/content"
done
unzip -p "$work/feed/ILGpuOptim.$version.nupkg" lib/net10.0/ILGpuOptim.xml >"$work/log"
grep -q '"T:ILGpuOptim.Tape"' "$work/log" && ! grep -q 'KnownModels' "$work/log" || fail "the documentation is not that of the public members"
echo "package-test: the tool and the libraries of version $version install from a feed and run"
