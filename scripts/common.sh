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

# configure [cmake arguments]: build/, optimised, with ccache where it is installed.
configure() {
  local launcher=()
  if command -v ccache >/dev/null; then
    launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    # Without these ccache gives up on files that use a precompiled header.
    export CCACHE_SLOPPINESS="${CCACHE_SLOPPINESS:-pch_defines,time_macros,include_file_mtime,include_file_ctime}"
  fi
  say "Configuring build/"
  cmake --preset release "${launcher[@]}" "$@"
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
