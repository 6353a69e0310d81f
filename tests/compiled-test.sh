#!/usr/bin/env bash
# Publishes a program that trains and resumes (tests/compiled) as an ordinary, a trimmed and an ahead-of-time compiled one, and compares the bits of their losses.
# Uses the packages of what is built. Exits with 77 where there is no linker for Native AOT.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "compiled-test: $1"; cat "$work/log"; exit 1; }

for project in ILGpuOptim ILGpuOptim.Compute; do
  dotnet pack "src/$project" -c Release --no-build -o "$work/feed" >"$work/log" 2>&1 || fail "pack $project"
done
version=$(basename "$work"/feed/ILGpuOptim.Compute.*.nupkg .nupkg)
version=${version#ILGpuOptim.Compute.}
export NUGET_PACKAGES=$work/cache
mkdir "$work/program"
cp tests/compiled/Program.cs "$work/program"
cd "$work/program"
cat >nuget.config <<CONFIG
<configuration>
  <packageSources>
    <add key="feed" value="$work/feed" />
  </packageSources>
</configuration>
CONFIG
cat >program.csproj <<PROJECT
<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup>
    <OutputType>Exe</OutputType>
    <TargetFramework>net10.0</TargetFramework>
    <ImplicitUsings>enable</ImplicitUsings>
    <InvariantGlobalization>true</InvariantGlobalization>
    <!-- The same vectors in all three. -->
    <IlcInstructionSet>native</IlcInstructionSet>
  </PropertyGroup>
  <ItemGroup>
    <PackageReference Include="ILGpuOptim" Version="$version" />
  </ItemGroup>
</Project>
PROJECT
publish() {
  dotnet publish -c Release --use-current-runtime -o "$work/$1" "${@:2}" >"$work/log" 2>&1 || fail "publish the $1 program"

  # ILGPU is not made for trimming: a trimmed program that opens devices by name has one warning (IL2104) for each of its two assemblies.
  ! grep -E 'warning IL[0-9]+' "$work/log" | grep -vE "IL2104: Assembly 'ILGPU(\.Algorithms)?'" >"$work/warnings" || fail "the $1 program has warnings"
  "$work/$1/program" "$work/runs-$1" >"$work/$1.losses" 2>"$work/log" || fail "the $1 program"
  [ ! -s "$work/log" ] || fail "the $1 program printed"
}
compare() {
  diff "$work/ordinary.losses" "$work/$1.losses" >"$work/log" || fail "the $1 program has other losses"
  echo "compiled-test: the $1 program trains and resumes $(wc -l <"$work/$1.losses") runs with the losses of the ordinary one, bit for bit"
}

publish ordinary
publish trimmed -p:PublishTrimmed=true
compare trimmed
if command -v clang >/dev/null; then
  linker=clang
elif command -v gcc >/dev/null; then
  linker=gcc
else
  echo "compiled-test: Native AOT needs clang or gcc to link, and neither is installed"
  exit 77
fi
publish compiled -p:PublishAot=true -p:CppCompilerAndLinker=$linker
compare compiled
for device in cuda opencl; do
  "$work/compiled/program" open $device >"$work/log" 2>&1 || fail "opening $device"
  [ "$(wc -l <"$work/log")" = 1 ] && grep -q 'publish it without PublishAot to use GPUs' "$work/log" || fail "the refusal of $device"
done
