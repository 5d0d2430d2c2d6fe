#!/bin/sh
# Installs descry below a prefix, or removes it. `make install` and `make uninstall` call it.
#   install.sh install PROGRAM      copies the program and its files, and writes manual pages and completions
#   install.sh uninstall            removes exactly these
#   install.sh model FOLDER         copies the built-in model into FOLDER/builtin
# The environment says where to: PREFIX (default /usr/local), and DESTDIR, which is put before it.
# An installed program finds its files from its own place: PREFIX/bin/descry has PREFIX/share/descry and PREFIX/lib/descry.
set -eu
umask 022
cd "$(dirname "$0")/.."
PREFIX=${PREFIX:-/usr/local}
case $PREFIX in
/*) ;;
*) echo "install: PREFIX is $PREFIX, and must begin with /" >&2; exit 2 ;;
esac
to=${DESTDIR:-}$PREFIX
own=$to/share/descry
doc=$to/share/doc/descry
man=$to/share/man/man1
bash=$to/share/bash-completion/completions
zsh=$to/share/zsh/site-functions
fish=$to/share/fish/vendor_completions.d

copy() {
    folder=$1
    shift
    install -d "$folder"
    install -m 644 "$@" "$folder"
}

copy_model() {
    copy "$1/builtin" models/builtin/model.json models/builtin/*.onnx models/builtin/*tokenizer.json models/builtin/README.md
}

do_install() {
    program=$1
    library=$(find vendor/onnxruntime -maxdepth 1 -name 'libonnxruntime.so.*' 2>/dev/null | sort | tail -n 1)
    # The program may not run before it is complete, so it comes last.
    if [ -n "$library" ]; then
        copy "$to/lib/descry" "$library"
        for terms in LICENSE ThirdPartyNotices.txt; do
            [ ! -f "vendor/onnxruntime/$terms" ] || copy "$doc/onnxruntime" "vendor/onnxruntime/$terms"
        done
    else
        echo "install: vendor/onnxruntime is empty, so ONNX Runtime is not installed: descry doctor prints how to get it" >&2
    fi
    copy_model "$own/models"
    if [ -f vendor/text-model/recognizer.onnx ]; then
        copy "$own/text-model" vendor/text-model/*.onnx
    else
        echo "install: vendor/text-model is empty, so --text does not work: descry doctor prints how to get it" >&2
    fi
    copy "$doc" README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT
    copy "$doc/docs" docs/*.md
    pages=$(mktemp -d)
    trap 'rm -rf "$pages"' EXIT
    "$program" man --out "$pages/man"
    for shell in bash zsh fish; do "$program" completions "$shell" >"$pages/$shell"; done
    copy "$man" "$pages"/man/*.1
    install -d "$bash" "$zsh" "$fish" "$to/bin"
    install -m 644 "$pages/bash" "$bash/descry"
    install -m 644 "$pages/zsh" "$zsh/_descry"
    install -m 644 "$pages/fish" "$fish/descry.fish"
    install -m 755 "$program" "$to/bin/descry"
}

# Removes files, then folders that are empty: models that somebody else put there stay.
do_uninstall() {
    rm -f "$to/bin/descry" "$man/descry.1" "$man"/descry-*.1 "$bash/descry" "$zsh/_descry" "$fish/descry.fish"
    rm -f "$to"/lib/descry/libonnxruntime.so.*
    rm -rf "$own/models/builtin" "$own/text-model" "$doc"
    for folder in "$to/lib/descry" "$own/models" "$own"; do
        [ ! -d "$folder" ] || rmdir "$folder" 2>/dev/null || echo "install: $folder is not empty, so it stays" >&2
    done
}

case ${1:-} in
install) do_install "$2" ;;
uninstall) do_uninstall ;;
model) copy_model "$2" ;;
*) sed -n 's/^# //p' "$0" >&2; exit 2 ;;
esac
