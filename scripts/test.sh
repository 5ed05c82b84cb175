#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs what is missing, checks the format of the sources, builds everything (programs, tests, benchmarks, examples, and the CUDA kernels
# where nvcc is installed) and runs every test. Run from any folder; a second run builds what has changed.
#
#   scripts/test.sh [ctest arguments]
#   scripts/test.sh -L sampling        the tests of one room
#   scripts/test.sh -R Schedule -V     the tests of that name, with their output
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
case "${1:-}" in -h | --help) usage "$0"; exit 0 ;; esac

scripts/setup.sh --tests
say "Checking the format"
check_format
configure -DDF_BUILD_BENCH=ON -DDF_BUILD_EXAMPLES=ON
build
say "Testing"
exec ctest --test-dir build --output-on-failure -j "$(nproc)" "$@"
