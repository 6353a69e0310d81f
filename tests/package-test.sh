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

cd "$work/program"
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
using ILGpuOptim.Ops;

using var device = new CpuDevice();
using var tape = new Tape(device);
Console.WriteLine(tape.Constant([1, 2, 3], 3).Square().Sum().Item());
PROGRAM
dotnet add package ILGpuOptim --version "$version" --source "$work/feed" --no-restore >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
dotnet restore -p:RestoreAdditionalProjectSources="$work/feed" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
[ "$(dotnet run -c Release --no-restore 2>&1 | tail -n 1)" = 14 ] || { dotnet run -c Release --no-restore; exit 1; }
echo "package-test: the tool and the library of version $version install from a feed and run"
