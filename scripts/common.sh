# SPDX-License-Identifier: MIT
# What the scripts of this folder share; sourced by them, not run. Afterwards the current folder is the repository's root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\n=== %s\n' "$*"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# The comment block at the top of a script is its --help.
usage() { awk 'NR > 2 && /^#/ { sub(/^# ?/, ""); print; next } NR > 2 { exit }' "$1"; }

# Compile jobs: one per core, but no more than memory allows (a file that includes LibTorch takes up to 1.5 GB).
build_jobs() {
  local cores memory_mb by_memory
  cores=$(nproc)
  memory_mb=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
  by_memory=$((memory_mb / 1500))
  echo $((by_memory < 1 ? 1 : by_memory < cores ? by_memory : cores))
}

# Every C++ and CUDA file of the repository, as this clang-format writes it.
check_format() {
  local format=clang-format-14 unformatted
  unformatted=$(git ls-files '*.cpp' '*.hpp' '*.cu' '*.cuh' | while read -r file; do
    [ ! -f "$file" ] || "$format" --dry-run -Werror "$file" >/dev/null 2>&1 || echo "  $file"
  done)
  [ -z "$unformatted" ] || die "these files are not formatted; run $format -i on them:
$unformatted"
}

# configure [cmake arguments]: build/, optimised, with ccache where it is installed. Warnings are errors for GCC 12, Debian's, which the code
# is free of warnings for; other compilers have other opinions.
configure() {
  local launcher=() strict=OFF
  [ "$(g++ -dumpversion)" != 12 ] || strict=ON
  if command -v ccache >/dev/null; then
    launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    # Without these ccache gives up on files that use a precompiled header.
    export CCACHE_SLOPPINESS="${CCACHE_SLOPPINESS:-pch_defines,time_macros,include_file_mtime,include_file_ctime}"
  fi
  say "Configuring build/"
  cmake --preset release -DCMAKE_COMPILE_WARNING_AS_ERROR=$strict ${launcher[@]+"${launcher[@]}"} "$@"
}

# train CONFIG RUN [df-train arguments]: from where the run folder stood, if it is there.
train() {
  local config=$1 run=$2
  shift 2
  [ ! -f "$run/config.yaml" ] || set -- --resume "$@"
  build/bin/df-train --config "$config" --out "$run" "$@" || die "training stopped. Run again to go on, or remove $run to start anew"
}

# build [targets]: all of them by default.
build() {
  local jobs
  jobs=$(build_jobs)
  say "Building with $jobs jobs (the first time takes some minutes)"
  cmake --build build -j "$jobs" ${1:+--target "$@"}
}
