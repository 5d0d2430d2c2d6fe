#!/bin/sh
# Builds descry for 64-bit ARM on another machine, and runs tests of it under QEMU.
#   arm64.sh build     the program: target/aarch64-unknown-linux-gnu/release/descry
#   arm64.sh test      unit tests, and the tests of tests/ that TESTS names (default: those of the main job)
# It needs Debian 12 and root, or sudo: the foreign packages go into a folder of their own, target/arm64.
set -eu
cd "$(dirname "$0")/.." && cd "$(pwd -P)"
TRIPLE=aarch64-unknown-linux-gnu
ROOT=$PWD/target/arm64/root
# The version of tools/setup.sh.
VERSION=$(sed -n 's/^VERSION=//p' tools/setup.sh)
LIBRARY=$PWD/target/arm64/libonnxruntime.so.$VERSION
log() { printf 'arm64: %s\n' "$*" >&2; }

# Debian's FFmpeg for ARM, and what its programs need to run.
foreign_root() {
    [ -d "$ROOT/usr" ] && return
    log "making a root of Debian for ARM"
    mkdir -p "$ROOT.part"
    mmdebstrap -q --architectures=arm64 --variant=extract \
        --include=libavcodec-dev,libavdevice59,libavformat-dev,libavutil-dev,libswresample-dev,libswscale-dev,libc6-dev,libgcc-12-dev,libstdc++-12-dev \
        bookworm "$ROOT.part" >&2
    # Links to absolute paths would lead out of it.
    find "$ROOT.part/usr/lib" "$ROOT.part/lib" -xtype l -lname '/*' 2>/dev/null | while read -r link; do
        ln -sfnr "$ROOT.part$(readlink "$link")" "$link"
    done
    # What Debian's alternatives would choose: nothing is configured here.
    ln -s blas/libblas.so.3 lapack/liblapack.so.3 "$ROOT.part/usr/lib/aarch64-linux-gnu/"
    mv "$ROOT.part" "$ROOT"
}

# The library of setup.sh, for ARM.
foreign_library() {
    [ -f "$LIBRARY" ] && return
    log "fetching ONNX Runtime $VERSION"
    hash=$(sed -n 's/.*aarch64) tag=.* hash=\([0-9a-f]*\) ;;/\1/p' tools/setup.sh)
    wheel=target/arm64/wheel
    rm -rf $wheel && mkdir -p $wheel
    printf 'onnxruntime==%s --hash=sha256:%s\n' "$VERSION" "$hash" >$wheel/requirements.txt
    python3 -m pip download -q --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
        --implementation cp --python-version 3.11 --abi cp311 --platform manylinux_2_28_aarch64 -d $wheel -r $wheel/requirements.txt >&2
    python3 -m zipfile -e $wheel/*.whl $wheel/files
    mv "$wheel/files/onnxruntime/capi/$(basename "$LIBRARY")" "$LIBRARY"
    rm -rf $wheel
}

# The kernel starts programs for ARM with QEMU, so that tests can start descry, and descry itself.
emulation() {
    formats=/proc/sys/fs/binfmt_misc
    [ -e $formats/qemu-aarch64 ] && return
    [ -e $formats/register ] || $sudo mount -t binfmt_misc binfmt_misc $formats
    $sudo sh -c "cat /usr/lib/binfmt.d/qemu-aarch64.conf >$formats/register"
}

# Runs a command that sees processors for ARM: ONNX Runtime reads their description, and crashes over that of another kind.
with_processors() {
    # QEMU prefers what is in the root; of a folder that is in both, it sees both.
    mkdir -p "$ROOT/proc"
    cat >"$ROOT/proc/cpuinfo" <<'CPUINFO'
processor	: 0
BogoMIPS	: 100.00
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x3
CPU part	: 0xd0c
CPU revision	: 1

CPUINFO
    become=-m
    [ "$(id -u)" = 0 ] || become=-rm
    unshare $become sh -ec '
        cpu=/sys/devices/system/cpu
        mount -t tmpfs tmpfs $cpu
        echo 0 >$cpu/possible
        echo 0 >$cpu/present
        exec "$@"' sh "$@"
}

sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
sh tools/setup.sh arm64
rustup target list --installed | grep -qx $TRIPLE || rustup target add $TRIPLE >&2
foreign_root
export PKG_CONFIG_ALLOW_CROSS=1 PKG_CONFIG_SYSROOT_DIR="$ROOT" PKG_CONFIG_LIBDIR="$ROOT/usr/lib/aarch64-linux-gnu/pkgconfig:$ROOT/usr/share/pkgconfig"
export BINDGEN_EXTRA_CLANG_ARGS="--target=aarch64-linux-gnu --sysroot=$ROOT"
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc CFLAGS_aarch64_unknown_linux_gnu="--sysroot=$ROOT"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
# FFmpeg's own libraries come with the hundred that they need, which the linker does not have to see.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C link-arg=--sysroot=$ROOT -C link-arg=-Wl,--unresolved-symbols=ignore-in-shared-libs"
export QEMU_LD_PREFIX="$ROOT"

case ${1:-} in
build) cargo build --release --locked --target $TRIPLE ;;
test)
    foreign_library
    emulation
    export DESCRY_ONNXRUNTIME="$LIBRARY"
    with_processors cargo test --locked --target $TRIPLE --lib -- ${UNITS:-}
    # shellcheck disable=SC2086
    with_processors cargo test --locked --target $TRIPLE --test describe -- \
        ${TESTS:-cli:: decode:: inference:: pipeline:: stills:: first_caption::}
    ;;
*) sed -n 's/^# \{0,1\}//p' "$0" | sed -n 1,4p >&2; exit 2 ;;
esac
