#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Diffusion forcing against the two baselines it grew from: trains the three configs of configs/compare on the same data, seed, steps and
# network, rolls each out to 1000 frames under the true actions, and writes one page with table, curves and frames. About twenty minutes on
# two cores. Run again after an interruption to go on.
#
#   scripts/compare.sh [--steps N] [--frames N] [--sequences N] [--out DIR]
#                                        default: --steps as configured, --frames 1000 --sequences 8 --out runs/compare
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

frames=1000
sequences=8
out=runs/compare
overrides=()
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage "$0"; exit 0 ;;
    --steps) overrides+=(--set "training.steps=${2:?--steps needs a number}"); shift 2 ;;
    --frames) frames=${2:?--frames needs a number}; shift 2 ;;
    --sequences) sequences=${2:?--sequences needs a number}; shift 2 ;;
    --out) out=${2:?--out needs a folder}; shift 2 ;;
    *) die "unknown argument '$1'; see $0 --help" ;;
  esac
done

scripts/setup.sh
configure
build df-train df-eval diffusion_forcing_media diffusion_forcing_video

runs=()
for noise in independent shared clean_history; do
  run=$out/$noise
  runs+=("$run")
  say "Training configs/compare/$noise.yaml"
  train "configs/compare/$noise.yaml" "$run" "${overrides[@]}"
done

say "Rolling out $sequences sequences of $frames frames from each, and measuring them"
build/bin/df-eval --checkpoint "${runs[@]}" --sequences "$sequences" --batch "$sequences" --frames "$frames" --context 16 \
  --title "Diffusion forcing and its two baselines" --out "$out/report"
echo "One page: $(realpath "$out/report/index.html")"
