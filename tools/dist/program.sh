#!/bin/sh
# Builds descry in the build's root, without network:
#   /src /crates /rust   the commit, its dependencies and the compiler
#   /libraries           FFmpeg
#   /target              for Cargo, and the result: /target/archive/descry and /target/package/descry
# The paths are the same on every machine, so the program has the same bytes.
set -eu
export CARGO_HOME=/target/home PATH=/rust/bin:$PATH CARGO_TARGET_DIR=/target/cargo CARGO_INCREMENTAL=0
export PKG_CONFIG_PATH=/libraries/lib/pkgconfig CARGO_NET_OFFLINE=true
mkdir -p "$CARGO_HOME" /target/archive /target/package
cat >"$CARGO_HOME/config.toml" <<'TOML'
[source.crates-io]
replace-with = "vendored-sources"
[source.vendored-sources]
directory = "/crates"
TOML
cd /src
# The program of the package finds Debian's libraries; that of the archive finds those beside it. Only linking differs.
cargo rustc -q -j"$JOBS" --release --locked --bin descry -- -C strip=symbols -C link-arg=-Wl,--as-needed
cp /target/cargo/release/descry /target/package/descry
cargo rustc -q -j"$JOBS" --release --locked --bin descry -- -C strip=symbols -C link-arg=-Wl,--as-needed \
    -C 'link-arg=-Wl,--enable-new-dtags,-rpath,$ORIGIN/../lib/descry'
cp /target/cargo/release/descry /target/archive/descry
