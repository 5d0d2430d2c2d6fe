"""The artefacts: an archive, its sources, a Debian package, an image for containers and a Python wheel."""

import gzip
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from dist import inputs, locks, parts, stage, wheel
from dist.error import DistError
from dist.files import empty, log, output, run, set_modes, sha256, tar, tar_zst
from dist.inputs import Commit
from dist.paths import BASE, OUT, PROGRAM, SOURCE, STAGE, TOOLS
from dist.roots import Root

# The user that the image runs as: no name of the host has this number.
IMAGE_USER = 65532


def archive_name(commit: Commit) -> str:
    return f"descry-{commit.version}-x86_64-linux"


def sources_name(commit: Commit) -> str:
    return f"descry-{commit.version}-sources"


def image_name(commit: Commit) -> str:
    return f"descry-{commit.version}-x86_64-oci.tar"


def package_name(commit: Commit) -> str:
    return f"descry_{commit.version}-1_amd64.deb"


def make_archive(root: Root, commit: Commit) -> None:
    log("making the archive")
    name = archive_name(commit)
    stage.make_archive(root, commit, STAGE / name, f"{sources_name(commit)}.tar.zst")
    check_linking(commit)
    tar_zst(STAGE, name, OUT / f"{name}.tar.zst", commit.epoch)


def make_sources(_: Root, commit: Commit) -> None:
    """All that the LGPL asks for: the sources of the libraries, and how they are built."""
    log("making the archive of sources")
    name = sources_name(commit)
    folder = empty(STAGE / name)
    for pin in locks.read("sources"):
        stage.copy(pin.fetch(), folder / "libraries" / pin.name)
    recipe = [
        TOOLS / "libraries.sh",
        *sorted(TOOLS.glob("patches/*")),
        TOOLS / "locks/sources.lock",
        TOOLS / "locks/build.lock",
    ]
    for path in recipe:
        stage.copy(path, folder / path.relative_to(TOOLS))
    set_modes(folder)
    # The sources are compressed already.
    plain = OUT / f"{name}.tar"
    tar(STAGE, [name], plain, commit.epoch)
    run("zstd", "-q", "-3", "--single-thread", "--rm", "-f", plain, "-o", OUT / f"{name}.tar.zst")


def compressed(text: bytes, to: Path) -> None:
    """Writes what Debian wants compressed, without a time."""
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(gzip.compress(text, 9, mtime=0))


def make_package(root: Root, commit: Commit) -> None:
    """The Debian package: what the archive has, less FFmpeg, which is Debian's own."""
    log("making the package")
    folder = empty(STAGE / "package")
    usr = folder / "usr"
    stage.copy(PROGRAM / "package/descry", usr / "bin/descry")
    (usr / "bin/descry").chmod(0o755)
    stage.common(root, usr)
    # Where Debian's rules differ from those of `make install`.
    completions = usr / "share/zsh"
    completions.joinpath("vendor-completions").mkdir()
    completions.joinpath("site-functions/_descry").rename(completions / "vendor-completions/_descry")
    completions.joinpath("site-functions").rmdir()
    for page in sorted((usr / "share/man/man1").glob("*.1")):
        compressed(page.read_bytes(), page.with_name(page.name + ".gz"))
        page.unlink()
    doc = usr / "share/doc/descry"
    for name in ("LICENSE-APACHE", "LICENSE-MIT"):
        (doc / name).unlink()
    # Cargo.toml lists this file by its full path. Otherwise cargo-deb would generate one of its own.
    (folder / "copyright").write_text(copyright_text())
    compressed((doc / "CHANGELOG.md").read_bytes(), doc / "changelog.gz")
    (doc / "CHANGELOG.md").unlink()
    compressed(debian_changelog(commit).encode(), doc / "changelog.Debian.gz")
    stage.copy(TOOLS / "package/overrides", usr / "share/lintian/overrides/descry")
    stage.copy(SOURCE / "examples/service/descry@.service", folder / "lib/systemd/system/descry@.service")
    set_modes(folder)
    cargo_deb(folder, commit)


def copyright_text() -> str:
    own = (SOURCE / "LICENSE-MIT").read_text()
    return (
        f"descry is under the MIT licence or the Apache License 2.0, at your choice.\n\n{own}\n"
        "The text of the Apache License 2.0 is in /usr/share/common-licenses/Apache-2.0.\n\n"
        "The terms of its parts, which are crates, ONNX Runtime and models, are in /usr/share/doc/descry/licences.\n"
    )


def debian_changelog(commit: Commit) -> str:
    date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(commit.epoch))
    text = (SOURCE / "Cargo.toml").read_text()
    maintainer = re.search(r'^maintainer = "([^"]+)"', text, re.MULTILINE)
    if maintainer is None:
        raise DistError("Cargo.toml names no maintainer of the package", "Add it to [package.metadata.deb].")
    return (
        f"descry ({commit.version}-1) stable; urgency=medium\n\n  * See changelog.gz for what changed.\n\n"
        f" -- {maintainer[1]}  {date}\n"
    )


def cargo_deb(folder: Path, commit: Commit) -> None:
    """Packs the tree with cargo-deb, which reads the package's description in Cargo.toml."""
    # The paths that Cargo.toml names.
    for path, link in (
        (SOURCE / "target/package", folder),
        (SOURCE / "target/release/descry", folder / "usr/bin/descry"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(link)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(commit.epoch), "CARGO_NET_OFFLINE": "true"}
    run(
        *(inputs.VENDOR / "cargo-deb/bin/cargo-deb", "-q", "--no-build", "--no-strip", "--compress-type=xz"),
        *("--output", OUT / package_name(commit)),
        cwd=SOURCE,
        env=environment,
    )
    shutil.rmtree(SOURCE / "target")


def make_image(_: Root, commit: Commit) -> None:
    """The image: Debian's C library, certificates and time zones, and the tree of the archive. It has no shell."""
    log("making the image")
    top = empty(BASE / "image")
    folder = top / "root"
    folder.mkdir()
    for pin in locks.read("image"):
        run("dpkg-deb", "-x", pin.fetch(), folder)
    authorities = sorted((folder / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    bundle = folder / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_text("".join(path.read_text() for path in authorities))
    (folder / "etc/passwd").write_text(f"descry:x:{IMAGE_USER}:{IMAGE_USER}:descry:/var/lib/descry:/usr/sbin/nologin\n")
    (folder / "etc/group").write_text(f"descry:x:{IMAGE_USER}:\n")
    statuses(folder)
    shutil.copytree(STAGE / archive_name(commit), folder / "usr/local", dirs_exist_ok=True)
    set_modes(folder)
    for name, mode in (("tmp", 0o1777), ("var/lib/descry", 0o777), ("films", 0o755)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name).chmod(mode)
    layer = top / "layer.tar"
    tar(folder, ["."], layer, commit.epoch)
    write_image(top, layer, commit)


def statuses(folder: Path) -> None:
    """Names Debian's packages where scanners for vulnerabilities read them."""
    place = folder / "var/lib/dpkg/status.d"
    place.mkdir(parents=True)
    for pin in locks.read("image"):
        name = pin.name.split("_")[0]
        (place / name).write_text(output("dpkg-deb", "-f", pin.fetch()))


def write_image(top: Path, layer: Path, commit: Commit) -> None:
    """Writes the image's files with umoci, and archives them."""
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(commit.epoch))
    layout = top / "layout"
    image = f"{layout}:{commit.version}"
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", image)
    history = ("--history.created", created, "--history.author", "descry")
    run("umoci", "raw", "add-layer", "--image", image, *history, "--history.created_by", "make dist", layer)
    run(
        *("umoci", "config", "--image", image, "--created", created, *history, "--history.created_by", "make dist"),
        *("--architecture", "amd64", "--os", "linux", "--config.user", f"{IMAGE_USER}:{IMAGE_USER}"),
        *("--config.entrypoint", "/usr/local/bin/descry", "--config.cmd", "--help"),
        *("--config.workingdir", "/var/lib/descry", "--config.volume", "/var/lib/descry"),
        *("--config.env", "PATH=/usr/local/bin:/usr/bin:/bin", "--config.env", "HOME=/var/lib/descry"),
        *("--config.env", "LANG=C.UTF-8", "--config.stopsignal", "SIGTERM"),
        *("--config.label", f"org.opencontainers.image.version={commit.version}"),
        *("--config.label", f"org.opencontainers.image.revision={commit.hash}"),
        *("--config.label", "org.opencontainers.image.title=descry"),
        *("--config.label", "org.opencontainers.image.licenses=(MIT OR Apache-2.0) AND LGPL-3.0-or-later"),
    )
    run("umoci", "gc", "--layout", layout)
    set_modes(layout)
    tar(layout, ["oci-layout", "index.json", "blobs"], OUT / image_name(commit), commit.epoch)


def make_parts(commit: Commit) -> None:
    """A list of parts beside each artefact."""
    base = parts.crates_bom(commit)
    own = parts.own_components()
    libraries = parts.library_components()
    lists = {
        f"{archive_name(commit)}.cdx.json": [*own, *libraries],
        package_name(commit).replace(".deb", ".cdx.json"): own,
        wheel.name(commit).replace(".whl", ".cdx.json"): [*own[1:], *libraries],
        image_name(commit).replace(".tar", ".cdx.json"): [*own, *libraries, *parts.image_components()],
    }
    for name, components in lists.items():
        (OUT / name).write_text(parts.bom(base, components))


def write_sums() -> None:
    files = sorted(path for path in OUT.iterdir() if path.name != "SHA256SUMS")
    (OUT / "SHA256SUMS").write_text("".join(f"{sha256(path)}  {path.name}\n" for path in files))


def check_linking(commit: Commit) -> None:
    """Whether the archive's program asks for nothing but what it brings and what every system with glibc has."""
    folder = STAGE / archive_name(commit)
    brought = {path.name for path in (folder / "lib/descry").iterdir()}
    system = {
        *("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "ld-linux-x86-64.so.2"),
        *("libgcc_s.so.1", "libstdc++.so.6"),
    }
    for file in [folder / "bin/descry", *(folder / "lib/descry").iterdir()]:
        if strange := parts.needed(file) - brought - system:
            raise DistError(f"{file.name} needs {', '.join(sorted(strange))}", "Build it in, or add it to the archive.")


def make_wheel(root: Root, commit: Commit) -> None:
    wheel.make_wheel(root, commit, f"{sources_name(commit)}.tar.zst")


# What is made, in this order: the image holds the tree of the archive.
MAKERS: list[Callable[[Root, Commit], None]] = [make_archive, make_sources, make_package, make_image, make_wheel]


def build() -> Commit:
    """Builds everything: what `make dist` does."""
    inputs.check_machine()
    BASE.mkdir(parents=True, exist_ok=True)
    commit = inputs.checkout()
    inputs.vendor_crates()
    root = inputs.build_root()
    inputs.build_libraries(root, commit.epoch)
    inputs.build_program(root, commit.epoch)
    empty(OUT)
    for make in MAKERS:
        make(root, commit)
    make_parts(commit)
    write_sums()
    return commit
