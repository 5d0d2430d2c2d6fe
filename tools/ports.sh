#!/bin/sh
# Checks that the library compiles for systems that descry is not built for here: `cargo check`, which links nothing and runs
# nothing. It prints a table.
#   ports.sh [TRIPLE...]      default: Windows, and macOS on both processors
# FFmpeg's headers are Debian's, those of the systems are MinGW's (Windows) and Zig's (macOS). It needs Debian 12, and root or
# sudo.
set -eu
cd "$(dirname "$0")/.." && cd "$(pwd -P)"
PORTS=$PWD/target/ports
ZIG_VERSION=0.15.2
log() { printf 'ports: %s\n' "$*" >&2; }

# Debian's headers of FFmpeg alone: those of glibc lie beside them.
headers() {
    rm -rf "$PORTS/ffmpeg" && mkdir -p "$PORTS/ffmpeg/include" "$PORTS/ffmpeg/pkgconfig"
    for library in avcodec avdevice avfilter avformat avutil swresample swscale; do
        pkg-config --exists "lib$library" || continue
        cp -r "$(pkg-config --variable=includedir "lib$library")/lib$library" "$PORTS/ffmpeg/include"
        printf 'Name: lib%s\nDescription: FFmpeg\nVersion: %s\nCflags: -I%s\nLibs: -l%s\n' "$library" \
            "$(pkg-config --modversion "lib$library")" "$PORTS/ffmpeg/include" "$library" >"$PORTS/ffmpeg/pkgconfig/lib$library.pc"
    done
}

# A compiler for macOS: Zig brings the headers of its C library.
zig() {
    [ -x "$PORTS/zig/bin/python" ] || python3 -m venv "$PORTS/zig"
    "$PORTS/zig/bin/python" -c 'import ziglang' 2>/dev/null ||
        "$PORTS/zig/bin/python" -m pip install -q --disable-pip-version-check "ziglang==$ZIG_VERSION" >&2
    ZIG=$("$PORTS/zig/bin/python" -c 'import ziglang, os; print(os.path.dirname(ziglang.__file__))')
}

# Compilers that forward to Zig's, for the C code of crates. cc names the target as Rust does, Zig has names of its own.
zig_compilers() {
    for program in cc c++ ar; do
        cat >"$PORTS/zig-$1-$program" <<WRAPPER
#!/bin/sh
for word; do
    shift
    case \$word in --target=* | -mmacosx-version-min=* | -arch) continue ;; esac
    set -- "\$@" "\$word"
done
case $program in ar) exec "$ZIG/zig" ar "\$@" ;; *) exec "$ZIG/zig" $program -target $1-macos "\$@" ;; esac
WRAPPER
        chmod +x "$PORTS/zig-$1-$program"
    done
}

check() {
    triple=$1
    rustup target list --installed | grep -qx "$triple" || rustup target add "$triple" >&2
    name=$(echo "$triple" | tr - _)
    case $triple in
    *windows-gnu)
        # Without the types of tiles, which bindgen writes down wrongly and FFmpeg does not use.
        clang_arguments="--target=x86_64-w64-mingw32 --sysroot=/usr/x86_64-w64-mingw32 -D__AMXINTRIN_H"
        ;;
    *apple-darwin)
        zig
        machine=${triple%%-*}
        zig_compilers "$machine"
        export "CC_$name=$PORTS/zig-$machine-cc" "CXX_$name=$PORTS/zig-$machine-c++" "AR_$name=$PORTS/zig-$machine-ar"
        # Debian's clang has no half floats on x86, and some functions of the C library take them.
        half=$([ "$machine" = aarch64 ] || echo -D_Float16=float)
        clang_arguments="--target=$triple $half -nostdinc -isystem $ZIG/lib/include -isystem $ZIG/lib/libc/include/any-macos-any"
        ;;
    esac
    log "checking $triple"
    if BINDGEN_EXTRA_CLANG_ARGS=$clang_arguments cargo check -q --locked --lib --no-default-features --target "$triple" \
        --target-dir "$PORTS/cargo" >"$PORTS/$triple.log" 2>&1; then
        printf '| %s | compiles |\n' "$triple"
    else
        printf '| %s | fails: %s |\n' "$triple" "$(grep -m 1 -E '^ *(error|thread)' "$PORTS/$triple.log")"
        failed=1
    fi
}

sh tools/setup.sh ports
mkdir -p "$PORTS"
headers
export PKG_CONFIG_ALLOW_CROSS=1 PKG_CONFIG_LIBDIR="$PORTS/ffmpeg/pkgconfig"
failed=0
printf '| target | `cargo check --lib --no-default-features` |\n|---|---|\n'
for triple in ${*:-x86_64-pc-windows-gnu x86_64-apple-darwin aarch64-apple-darwin}; do check "$triple"; done
exit $failed
