#!/bin/sh
# Builds FFmpeg, and the libraries that it needs, from Debian's source packages. Runs in the build's root, without network:
#   /sources     the files of sources.lock
#   /recipe      this folder, with what is mended in patches/
#   /build       for what is made on the way
#   /libraries   the result: lib/*.so.*, include/, lib/pkgconfig/, and the terms of each library in licences/
# FFmpeg is under the LGPL 3: nothing that is under the GPL is in it. It has every decoder and every demuxer of its own, so
# that descry opens the same films, and refuses others with the same messages, as with Debian's FFmpeg; but of encoders,
# muxers, protocols and devices only those that descry names (src/media/remux/format.rs, src/media/decode/open.rs).
set -eu
DEPS=/build/dependencies
mkdir -p "$DEPS/include" "$DEPS/lib/pkgconfig" /libraries/licences
export PKG_CONFIG_PATH="$DEPS/lib/pkgconfig"
export CFLAGS="-O2 -fPIC -fstack-protector-strong -fstack-clash-protection -fcf-protection -D_FORTIFY_SOURCE=2 -Wformat -Werror=format-security"
export CXXFLAGS="$CFLAGS"
export ASFLAGS=
LINK="-Wl,-z,relro -Wl,-z,now -Wl,--as-needed"
log() { printf 'libraries: %s\n' "$*" >&2; }

# Unpacks a source package, with Debian's patches, and keeps its terms.
unpack() {
    log "$1"
    cd /build
    rm -rf "$1"
    dpkg-source --no-check -q -x /sources/"$1"_*.dsc "$1" >/dev/null 2>"$1.log" || { cat "$1.log" >&2; exit 1; }
    cp "$1/debian/copyright" "/libraries/licences/$1.txt"
    cd "$1"
    for patch in /recipe/patches/"$1"-*.patch; do
        [ ! -f "$patch" ] || quiet patch -p1 --fuzz=0 -i "$patch"
    done
}

# Runs a step whose output is shown only if it fails.
quiet() {
    "$@" >/build/step.log 2>&1 || { tail -n 60 /build/step.log >&2; log "failed: $*"; exit 1; }
}

unpack zlib
quiet ./configure --static --prefix="$DEPS"
quiet make -j"$JOBS" libz.a
quiet make install

unpack bzip2
quiet make -j"$JOBS" libbz2.a CFLAGS="$CFLAGS -D_FILE_OFFSET_BITS=64"
cp bzlib.h "$DEPS/include" && cp libbz2.a "$DEPS/lib"

unpack opus
quiet ./configure --prefix="$DEPS" --disable-shared --with-pic --disable-doc --disable-extra-programs
quiet make -j"$JOBS" install

unpack lame
quiet ./configure --prefix="$DEPS" --disable-shared --with-pic --disable-frontend --disable-decoder --disable-gtktest
quiet make -j"$JOBS" install

unpack libvpx
quiet ./configure --prefix="$DEPS" --target=x86_64-linux-gcc --as=nasm --enable-pic --disable-shared --enable-static \
    --disable-examples --disable-tools --disable-docs --disable-unit-tests --disable-install-bins --disable-install-srcs \
    --enable-runtime-cpu-detect --enable-vp9-highbitdepth --disable-vp8-decoder --disable-vp9-decoder
quiet make -j"$JOBS" install

unpack dav1d
quiet meson setup build --prefix="$DEPS" --libdir=lib --default-library=static --buildtype=release -Db_ndebug=true \
    -Denable_tools=false -Denable_tests=false
quiet ninja -j"$JOBS" -C build install

# Without encryption: its code is not needed to receive a stream in the clear, and Debian has mended it lately.
unpack srt
quiet cmake -S . -B build -DCMAKE_INSTALL_PREFIX="$DEPS" -DCMAKE_INSTALL_LIBDIR=lib -DCMAKE_BUILD_TYPE=Release \
    -DENABLE_SHARED=OFF -DENABLE_STATIC=ON -DENABLE_APPS=OFF -DENABLE_CXX11=ON -DENABLE_ENCRYPTION=OFF \
    -DCMAKE_POSITION_INDEPENDENT_CODE=ON
quiet cmake --build build -j "$JOBS" --target install

unpack ffmpeg
cp COPYING.LGPLv3 /libraries/licences/LGPL-3.txt && cp COPYING.GPLv3 /libraries/licences/GPL-3.txt
./configure --prefix=/libraries --disable-static --enable-shared --disable-programs --disable-doc --disable-debug \
    --disable-autodetect --disable-avfilter --disable-postproc --enable-version3 --enable-pic \
    --disable-encoders --enable-encoder=aac,flac,libmp3lame,libopus,libvpx_vp8,libvpx_vp9,pcm_s16le \
    --disable-muxers --enable-muxer=flac,ipod,matroska,mov,mp3,mp4,ogg,wav,webm \
    --disable-protocols --enable-protocol=data,file,libsrt,pipe,rtmp,rtp,tcp,udp \
    --disable-devices --enable-indev=v4l2 --disable-hwaccels \
    --enable-zlib --enable-bzlib --enable-iconv --enable-libdav1d --enable-libmp3lame --enable-libopus --enable-libsrt \
    --enable-libvpx \
    --pkg-config-flags=--static --extra-cflags="-I$DEPS/include" --extra-ldflags="-L$DEPS/lib $LINK" >/build/step.log 2>&1 || {
    tail -n 20 /build/step.log ffbuild/config.log >&2
    exit 1
}
# configure only warns about names that it does not know.
if grep -i '^WARNING' /build/step.log >&2; then exit 1; fi
grep '^License:' /build/step.log | grep -q 'LGPL version 3' || { log "FFmpeg would not be under the LGPL 3"; exit 1; }
# Each library finds the others beside itself.
export LD_RUN_PATH='$ORIGIN'
quiet make -j"$JOBS"
quiet make install
find /libraries/lib -name '*.so.*.*' -type f -exec strip --strip-unneeded {} +
rm -rf /libraries/share
log "done"
