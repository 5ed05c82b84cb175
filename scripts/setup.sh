#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs what the build needs; does nothing where all of it is there. Run from any folder.
#
#   scripts/setup.sh           Debian packages, and LibTorch for the CPU in .deps/libtorch (543 MB to download, 0.6 GB on disk)
#   scripts/setup.sh --cuda    the same with LibTorch for CUDA 13 as well (2.5 GB to download, 4 GB on disk; nvcc is not included)
#   scripts/setup.sh --tests   the same as without an argument, and the formatter that scripts/test.sh checks the sources with
#   scripts/setup.sh --checks  the same as --tests, and clang and clang-tidy, which scripts/check.sh uses
#
# Packages are installed as root or through sudo. LibTorch comes from the PyTorch wheel on PyPI, pinned by version and hash in
# scripts/libtorch-*.txt. If LIBTORCH_ROOT names a folder with an unpacked torch 2.11 wheel, that one is used instead.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

kind=cpu
extra_tools=()
case "${1:-}" in
  "") ;;
  --cuda) kind=cuda ;;
  --tests) extra_tools=(clang-format-14:clang-format-14) ;;
  --checks) extra_tools=(clang-format-14:clang-format-14 clang++-14:clang-14 clang-tidy-14:clang-tidy-14) ;;
  -h | --help) usage "$0"; exit 0 ;;
  *) die "unknown argument '$1'; see $0 --help" ;;
esac
[ "$(uname -sm)" = "Linux x86_64" ] || die "needs Linux on x86_64, this is $(uname -sm): there is no LibTorch wheel of the pinned version for it"

# Tools may come from anywhere (command:package); libraries are Debian's.
tools=(g++:g++ cmake:cmake ninja:ninja-build python3:python3 pkg-config:pkg-config git:git
  ${extra_tools[@]+"${extra_tools[@]}"})
libraries=(ca-certificates libcli11-dev libyaml-cpp-dev libspdlog-dev libfmt-dev nlohmann-json3-dev libzip-dev zlib1g-dev
  libopencv-core-dev libopencv-imgproc-dev libopencv-imgcodecs-dev
  libavformat-dev libavcodec-dev libavutil-dev libswscale-dev libmujoco-dev libhdf5-dev
  libgtest-dev libbenchmark-dev)

missing_packages() {
  local tool package
  for tool in "${tools[@]}"; do
    command -v "${tool%%:*}" >/dev/null || echo "${tool##*:}"
  done
  python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
  for package in "${libraries[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
  done
}

install_packages() {
  local as_root=() log
  command -v apt-get >/dev/null || die "no apt-get here. Install the equivalents of: ${tools[*]##*:} python3-pip ${libraries[*]}"
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || die "not root and no sudo. Ask an administrator for: apt-get install --no-install-recommends $*"
    as_root=(sudo)
  fi
  log=$(mktemp)
  say "Installing $# Debian packages and what they need (up to 1 GB on disk, a minute or two)"
  echo "$*"
  "${as_root[@]}" apt-get update -qq </dev/null >"$log" 2>&1 || echo "apt-get update had errors, trying on"
  if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >>"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "apt-get install failed; the whole log is $log"
  fi
  rm -f "$log"
}

# Puts the libraries and headers of the wheels into a folder; Python code and test binaries stay out, and CUDA's too for the CPU.
unpack_wheels() {
  python3 - "$1" "$2" "$3" <<'PYTHON'
import pathlib, re, sys, zipfile

kind, wheels, target = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
wanted = re.compile(r"torch/include/|torch/lib/[^/]+\.so|nvidia/.+\.so|nvidia/.+/include/|.*\.dist-info/(METADATA|licenses/|LICENSE|NOTICE)")
unwanted = re.compile(r"torch/lib/libtorch_python|torch/lib/libshm")
if kind == "cpu":
    unwanted = re.compile(unwanted.pattern + r"|torch/lib/lib(torch_cuda|torch_nvshmem|c10_cuda|caffe2_nvrtc|torch\.so)|nvidia/.+/include/")
for wheel in sorted(wheels.glob("*.whl")):
    print(f"  {wheel.name}", flush=True)
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if wanted.match(n) and not unwanted.match(n)]
        archive.extractall(target, names)
PYTHON
}

# .deps/libtorch is whole or absent: it is unpacked beside its place and then renamed. Its stamp is the list it was made from.
install_libtorch() {
  local list=scripts/libtorch-$1.txt stamp=.deps/libtorch/stamp-$1 need_mb=$2 free_mb platforms=(--platform manylinux2014_x86_64) minor
  [ -f "$stamp" ] && cmp -s "$list" "$stamp" && return
  mkdir -p .deps
  free_mb=$(df -Pm .deps | awk 'NR == 2 { print $4 }')
  [ "$free_mb" -ge "$need_mb" ] || die "LibTorch needs $need_mb MB while it is unpacked, $PWD/.deps has $free_mb MB free"
  say "Downloading LibTorch ($3)"
  for minor in $(seq 17 28); do platforms+=(--platform "manylinux_2_${minor}_x86_64"); done
  python3 -m pip --disable-pip-version-check --no-cache-dir download --no-deps --require-hashes --only-binary=:all: \
    --python-version 311 "${platforms[@]}" --dest ".deps/wheels-$1" -r "$list" || die "LibTorch could not be downloaded; run again to go on"
  say "Unpacking LibTorch to $PWD/.deps/libtorch"
  rm -rf .deps/libtorch.part
  unpack_wheels "$1" ".deps/wheels-$1" .deps/libtorch.part
  cp "$list" ".deps/libtorch.part/stamp-$1"
  rm -rf .deps/libtorch
  mv .deps/libtorch.part .deps/libtorch
  rm -rf ".deps/wheels-$1"
}

mapfile -t missing < <(missing_packages)
[ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"

if [ -n "${LIBTORCH_ROOT:-}" ]; then
  echo "LibTorch: LIBTORCH_ROOT is set to $LIBTORCH_ROOT"
elif [ $kind = cuda ]; then
  install_libtorch cuda 8000 "2.5 GB, some minutes"
elif [ ! -f .deps/libtorch/stamp-cuda ]; then  # the CUDA set runs on the CPU as well
  install_libtorch cpu 1500 "543 MB, a minute or so"
fi
echo "Everything the build needs is there."
