"""Tests of what needs neither network nor a root: pins, archives, lists of parts."""

import hashlib
import json
import os
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent))

from dist import files, locks, parts
from dist.error import DistError

HASH = "ab" * 32


class Locks(unittest.TestCase):
    def written(self, text: str) -> list[locks.Pin]:
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(locks, "LOCKS", Path(folder)):
            Path(folder, "some.lock").write_text(text)
            return locks.read("some")

    def test_a_line_is_a_pin(self) -> None:
        pins = self.written(f"# a comment\n\n{HASH} security pool/updates/main/f/film/film_1+2_amd64.deb\n")
        self.assertEqual(pins, [locks.Pin(HASH, "security", "pool/updates/main/f/film/film_1+2_amd64.deb")])
        self.assertEqual(pins[0].name, "film_1+2_amd64.deb")

    def test_a_line_without_a_hash_or_with_an_unknown_archive_is_refused(self) -> None:
        for line in ("abc debian pool/x", f"{HASH} elsewhere pool/x", f"{HASH} debian", f"{HASH[1:]}g debian pool/x"):
            with self.assertRaisesRegex(DistError, "line 1"):
                self.written(line)

    def test_the_locks_of_the_project_can_be_read(self) -> None:
        for name in ("sources", "build", "image", "keyring"):
            pins = locks.read(name)
            self.assertEqual(len(pins), len({pin.name for pin in pins}), name)
        names = {pin.name.split("_")[0] for pin in locks.read("sources")}
        self.assertEqual(names, set(locks.SOURCES))

    def test_a_mirror_may_be_named(self) -> None:
        locks.mirror.cache_clear()
        with mock.patch.dict(os.environ, {"DIST_MIRROR": "http://mirror.example/debian/"}):
            self.assertEqual(locks.mirror("debian"), "http://mirror.example/debian")
        locks.mirror.cache_clear()

    def test_fields_may_have_several_lines(self) -> None:
        paragraph = (
            "Package: film\nVersion: 1:2-3\nChecksums-Sha256:\n aa 1 film.dsc\n bb 2 film.tar\nDirectory: pool/f"
        )
        self.assertEqual(locks.field(paragraph, "Version"), "1:2-3")
        self.assertEqual(locks.field(paragraph, "Checksums-Sha256").split(), "aa 1 film.dsc bb 2 film.tar".split())
        self.assertEqual(locks.field(paragraph, "Homepage"), "")


class Files(unittest.TestCase):
    def test_only_the_pinned_bytes_are_accepted(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "film.txt").write_bytes(b"a film")
            url = (folder / "film.txt").as_uri()
            right = hashlib.sha256(b"a film").hexdigest()
            fetched = files.fetch(url, right, folder / "cache")
            self.assertEqual(fetched.read_bytes(), b"a film")
            # From the cache, even when the source is gone; but not when the cache was changed.
            (folder / "film.txt").write_bytes(b"another film")
            self.assertEqual(files.fetch(url, right, folder / "cache"), fetched)
            fetched.write_bytes(b"changed")
            with self.assertRaisesRegex(DistError, "has the SHA-256"):
                files.fetch(url, right, folder / "cache")
            self.assertEqual(list((folder / "cache").glob("*.part")), [])

    def test_an_archive_depends_on_its_content_alone(self) -> None:
        def archive(order: list[str], time: int, mode: int) -> bytes:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name, "tree")
                folder.mkdir()
                for entry in order:
                    (folder / entry).write_text(entry)
                    (folder / entry).chmod(mode)
                    os.utime(folder / entry, (time, time))
                files.set_modes(folder)
                files.tar(Path(name), ["tree"], Path(name, "out.tar"), 1_700_000_000)
                return Path(name, "out.tar").read_bytes()

        self.assertEqual(archive(["b", "a"], 5, 0o600), archive(["a", "b"], 1_000_000_000, 0o664))
        self.assertNotEqual(archive(["a"], 5, 0o600), archive(["a"], 5, 0o700))


class Parts(unittest.TestCase):
    def test_parts_are_added_to_what_the_program_depends_on(self) -> None:
        base = {
            "metadata": {"component": {"bom-ref": "descry"}},
            "components": [{"bom-ref": "crate"}],
            "dependencies": [{"ref": "descry", "dependsOn": ["crate"]}, {"ref": "crate"}],
        }
        library = parts.component("library", "film", "1", "MIT", {"purl": "pkg:deb/debian/film@1"})
        made = json.loads(parts.bom(base, [library]))
        self.assertEqual([c["bom-ref"] for c in made["components"]], ["crate", "pkg:deb/debian/film@1"])
        self.assertEqual(made["dependencies"][0]["dependsOn"], ["crate", "pkg:deb/debian/film@1"])
        self.assertEqual(made["dependencies"][-1], {"ref": "pkg:deb/debian/film@1"})
        self.assertEqual(len(base["components"]), 1)

    def test_every_library_has_a_licence(self) -> None:
        self.assertEqual(set(parts.LICENCES), set(locks.SOURCES))
        for component in parts.library_components():
            self.assertTrue(component["externalReferences"], component["name"])


if __name__ == "__main__":
    unittest.main()
