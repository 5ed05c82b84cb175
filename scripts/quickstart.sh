#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# From a bare Debian 12 to a video: installs what is missing, builds the programs, trains the small model on the embedded
# maze world and generates 1000 frames with it. It takes about a quarter of an hour on two cores and 3 GB of disk. After an
# interruption, run it again: it goes on where it stopped.
#
#   scripts/quickstart.sh [--frames N] [--out VIDEO]     default: --frames 1000 --out quickstart.mp4
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

frames=1000
out=quickstart.mp4
preview=preview.mp4
run=runs/quickstart
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage "$0"; exit 0 ;;
    --frames) frames=${2:?--frames needs a number}; shift 2 ;;
    --out) out=${2:?--out needs a file name}; shift 2 ;;
    *) die "unknown argument '$1'; see $0 --help" ;;
  esac
done

scripts/setup.sh
configure
build df-train df-sample df-schedule diffusion_forcing_media diffusion_forcing_video

say "A first look: 200 frames of the 64 x 64 model that comes with the repository"
[ -f "$preview" ] || build/bin/df-sample --checkpoint assets/video_small/model.safetensors --frames 200 --schedule pyramid --out "$preview"

if [ -f "$run/config.yaml" ]; then
  say "Training, from where it stood in $run"
else
  say "$preview is ready to be looked at. Training configs/video_quick.yaml on the maze world (six minutes on two cores)"
fi
train configs/video_quick.yaml "$run"

say "Rolling out $frames frames"
build/bin/df-sample --checkpoint "$run" --frames "$frames" --out "$out"

cat <<END

Your video: $(realpath "$out")
The 64 x 64 model that comes with the repository: $(realpath "$preview")

What to try next:
  build/bin/df-sample --checkpoint $run --frames 300 --schedule pyramid --slope 4 --out pyramid.mp4
  build/bin/df-schedule --schedule pyramid                   what a scheduling matrix is, and what it costs
  build/bin/df-train --config video.yaml --device cuda       the larger 64 x 64 model, in eight minutes of a GPU
  docs/guide/your-data.md                                    train on a folder of your own videos
END
