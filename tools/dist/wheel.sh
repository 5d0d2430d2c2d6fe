#!/bin/sh
# Builds the wheel in the build's root, without network. program.sh has compiled all that is in it: only linking is left.
#   /build/maturin       the tool
#   /target/wheel        the result
# FFmpeg's libraries are not in it yet.
set -eu
umask 022
export CARGO_HOME=/target/home PATH=/rust/bin:$PATH CARGO_TARGET_DIR=/target/cargo CARGO_INCREMENTAL=0
export PKG_CONFIG_PATH=/libraries/lib/pkgconfig CARGO_NET_OFFLINE=true
export CARGO_BUILD_JOBS="$JOBS"
cd /src/tools/wheel
/build/maturin build -q --release --locked --auditwheel skip --compatibility linux --out /target/wheel \
    -- -C strip=symbols -C link-arg=-Wl,--as-needed
