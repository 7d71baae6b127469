"""Makes relocatable archives of what `make install` left.

    assemble.py INSTALLED OUT SOURCES NAME

INSTALLED becomes OUT/main, with the shared libraries that its programs need and every run path relative to $ORIGIN. What
needs an interpreter of the host (PL/Perl, PL/Python, PL/Tcl) goes to OUT/pl, debug information to OUT/debug, and OUT/client has
copies of what a client needs. The licences of all of it are under share/licenses, and MANIFEST.json lists what was bundled.

Runs in the build box with its Python, binutils, patchelf and dpkg-query. Everything is done in sorted order.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from urllib.parse import quote

# glibc's own libraries belong to the host: libc loads only its own parts, and they only it (GLIBC_PRIVATE).
GLIBC = re.compile(r"(ld-linux.*|lib(c|m|pthread|dl|rt|resolv|util|anl))\.so(\.\d+)?")
# What is left to the host because it is only of use with the host's interpreter and its modules.
INTERPRETERS = re.compile(r"lib(perl|python|tcl)\d?\..*")

CLIENT_FILES = """
    bin/clusterdb bin/createdb bin/createuser bin/dropdb bin/dropuser bin/oid2name bin/pg_amcheck bin/pg_basebackup
    bin/pg_dump bin/pg_dumpall bin/pg_isready bin/pg_receivewal bin/pg_recvlogical bin/pg_restore bin/pg_verifybackup
    bin/pgbench bin/psql bin/reindexdb bin/vacuumdb bin/vacuumlo
    include/libpq include/libpq-events.h include/libpq-fe.h include/pg_config_ext.h include/postgres_ext.h
    lib/libpq.so lib/pkgconfig/libpq.pc share/psqlrc.sample
""".split()
CLIENT_CATALOGUES = {"libpq5", "pg_amcheck", "pg_basebackup", "pg_dump", "pg_verifybackup", "pgscripts", "psql"}


def run(*argv):
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout


def walk(top):
    """All files below `top`, links included, relative to it and sorted."""
    found = []
    for directory, _, names in os.walk(top):
        found += (os.path.relpath(os.path.join(directory, name), top) for name in names)
    return sorted(found)


def elf_kind(path):
    """The ELF type of a regular file (2: program, 3: shared object or program, …), or None."""
    if os.path.islink(path):
        return None
    with open(path, "rb") as file:
        head = file.read(18)
    if len(head) < 18 or head[:4] != b"\x7fELF":
        return None
    return int.from_bytes(head[16:18], "big" if head[5] == 2 else "little")


def dynamic(path):
    """(needed libraries, run path) of an ELF file."""
    text = run("readelf", "--wide", "--dynamic", path)
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", text)
    runpath = re.findall(r"\(RUNPATH\).*\[(.*)\]", text)
    return needed, runpath[0] if runpath else None


def place(path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def move(path, source, target):
    os.rename(os.path.join(source, path), place(os.path.join(target, path)))


class Package:
    """The Debian package that a file of the box came with."""

    def __init__(self, path):
        owner = run("dpkg-query", "--search", path).split("\n")[0].rsplit(": ", 1)[0]
        fields = "${Package}\n${Version}\n${Architecture}\n${source:Package}\n${source:Version}"
        self.name, self.version, self.architecture, self.source, self.source_version = run(
            "dpkg-query", "--show", "--showformat", fields, owner
        ).split("\n")

    def purl(self, name, version, architecture):
        with open("/etc/os-release", encoding="utf-8") as file:
            release = dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
        version = quote(version, safe=".-_~:")
        return f"pkg:deb/debian/{quote(name)}@{version}?arch={architecture}&distro={release['VERSION_CODENAME']}"

    def manifest(self):
        return {
            "package": self.name,
            "version": self.version,
            "purl": self.purl(self.name, self.version, self.architecture),
            "source": self.source,
            "sourceVersion": self.source_version,
            "sourcePurl": self.purl(self.source, self.source_version, "source"),
            "licence": f"share/licenses/{self.name}/copyright",
        }


class Archives:
    def __init__(self, installed, out, sources, name):
        self.main, self.client, self.pl, self.debug = (os.path.join(out, part) for part in ("main", "client", "pl", "debug"))
        os.rename(installed, self.main)
        self.sources, self.name = sources, name
        self.multiarch = run("gcc", "-print-multiarch").strip()
        self.own = [path for path in walk(self.main) if elf_kind(os.path.join(self.main, path)) in (2, 3)]
        self.bundled = {}

    def make(self):
        self.split_debug()
        self.separate_languages()
        self.bundle()
        self.set_run_paths()
        self.add_licences(self.main, self.bundled)
        self.copy_client()
        self.write_manifest(self.main, self.name, self.bundled, self.languages)

    def split_debug(self):
        """Debug information is found beside a file through its debug link, and anywhere through its build id."""
        for path in self.own:
            whole = os.path.join(self.main, path)
            beside = os.path.join(os.path.dirname(path), ".debug", os.path.basename(path) + ".debug")
            apart = place(os.path.join(self.debug, beside))
            build_id = re.search(r"Build ID: ([0-9a-f]{2})([0-9a-f]+)", run("readelf", "--wide", "--notes", whole))
            run("objcopy", "--only-keep-debug", whole, apart)
            os.chmod(apart, 0o644)
            run("objcopy", "--strip-all", f"--add-gnu-debuglink={apart}", whole)
            link = place(os.path.join(self.debug, "lib/debug/.build-id", build_id[1], build_id[2] + ".debug"))
            # The same file may be installed twice.
            if not os.path.lexists(link):
                os.symlink(os.path.relpath(apart, os.path.dirname(link)), link)
        for path in walk(self.main):
            if path.endswith(".a"):
                run("strip", "--strip-debug", "--enable-deterministic-archives", os.path.join(self.main, path))

    def separate_languages(self):
        """What needs a host's interpreter, and the extensions and catalogues that need that."""
        self.languages, modules = [], set()
        for path in self.own:
            interpreters = [name for name in dynamic(os.path.join(self.main, path))[0] if INTERPRETERS.fullmatch(name)]
            if interpreters:
                self.languages.append({"file": path, "needs": interpreters})
                modules.add(os.path.basename(path).removesuffix(".so"))
        extensions = set()
        for path in walk(os.path.join(self.main, "share/extension")):
            if path.endswith(".control"):
                with open(os.path.join(self.main, "share/extension", path), encoding="utf-8") as file:
                    module = re.search(r"^module_pathname\s*=\s*'\$libdir/(.*)'", file.read(), re.MULTILINE)
                if module and module[1] in modules:
                    extensions.add(path.removesuffix(".control"))
        catalogues = {module.rstrip("0123456789") for module in modules}
        moved = {language["file"] for language in self.languages}
        for path in walk(self.main):
            directory, name = os.path.split(path)
            extension = directory == "share/extension" and re.split(r"\.control$|--", name)[0] in extensions
            catalogue = name.endswith(".mo") and name.rsplit("-", 1)[0] in catalogues
            if path in moved or extension or catalogue:
                move(path, self.main, self.pl)
        self.own = [path for path in self.own if path not in moved]

    def bundle(self):
        """Copies libraries of the box to lib/ until nothing but glibc is missing."""
        waiting = [os.path.join(top, path) for top, path in self.everything()]
        while waiting:
            for name in dynamic(waiting.pop())[0]:
                target = os.path.join(self.main, "lib", name)
                if GLIBC.fullmatch(name) or INTERPRETERS.fullmatch(name) or os.path.lexists(target):
                    continue
                source = os.path.join("/usr/lib", self.multiarch, name)
                shutil.copyfile(os.path.realpath(source), target)
                self.bundled["lib/" + name] = Package(os.path.realpath(source))
                waiting.append(target)

    def everything(self):
        return [(self.main, path) for path in self.own] + [(self.pl, language["file"]) for language in self.languages]

    def set_run_paths(self):
        """The linker wrote what is right for bin/ and lib/ into what was built here."""
        for top, path in self.everything():
            # What lies in lib/ need not leave it.
            right = ["$ORIGIN/" + os.path.relpath("lib", os.path.dirname(path))]
            if os.path.dirname(path) == "lib":
                right.append("$ORIGIN/../lib")
            if dynamic(os.path.join(top, path))[1] not in right:
                run("patchelf", "--set-rpath", right[0], os.path.join(top, path))
        for path in sorted(self.bundled):
            path = os.path.join(self.main, path)
            if not all(GLIBC.fullmatch(name) for name in dynamic(path)[0]):
                run("patchelf", "--set-rpath", "$ORIGIN", path)

    def add_licences(self, top, bundled):
        licences = os.path.join(top, "share/licenses")
        shutil.copyfile(os.path.join(self.sources, "COPYRIGHT"), place(os.path.join(licences, "postgresql/COPYRIGHT")))
        for package in {package.name for package in bundled.values()}:
            copyright = place(os.path.join(licences, package, "copyright"))
            shutil.copyfile(f"/usr/share/doc/{package}/copyright", copyright)
            with open(copyright, encoding="utf-8") as file:
                for text in re.findall(r"/usr/share/common-licenses/([\w.+-]*\w)", file.read()):
                    shutil.copyfile(f"/usr/share/common-licenses/{text}", place(os.path.join(licences, "common", text)))

    def copy_client(self):
        def copy(path):
            source, target = os.path.join(self.main, path), place(os.path.join(self.client, path))
            if os.path.isdir(source):
                shutil.copytree(source, target, symlinks=True)
            elif not os.path.lexists(target):
                shutil.copy2(source, target, follow_symlinks=False)
                if os.path.islink(source):
                    copy(os.path.join(os.path.dirname(path), os.readlink(source)))

        # No release has them all.
        present = [path for path in CLIENT_FILES if os.path.lexists(os.path.join(self.main, path))]
        for path in present:
            copy(path)
        waiting = [path for path in present if path.startswith("bin/")] + ["lib/libpq.so"]
        bundled = {}
        while waiting:
            path = waiting.pop()
            copy(path)
            for name in dynamic(os.path.join(self.main, path))[0]:
                library = "lib/" + name
                if not GLIBC.fullmatch(name) and library not in bundled:
                    bundled[library] = self.bundled.get(library)
                    waiting.append(library)
        bundled = {path: package for path, package in bundled.items() if package}
        for path in walk(os.path.join(self.main, "share/locale")):
            if os.path.basename(path).rsplit("-", 1)[0] in CLIENT_CATALOGUES:
                copy(os.path.join("share/locale", path))
        self.add_licences(self.client, bundled)
        self.write_manifest(self.client, self.name + "-client", bundled, None)

    def write_manifest(self, top, name, bundled, languages):
        manifest = {
            "version": 1,
            "name": name,
            "licence": "share/licenses/postgresql/COPYRIGHT",
            "libraries": [{"file": path, **bundled[path].manifest()} for path in sorted(bundled)],
        }
        if languages is not None:
            manifest["separate"] = {"archive": self.name + "-pl", "modules": languages}
        with open(os.path.join(top, "MANIFEST.json"), "w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=2)
            file.write("\n")


Archives(*sys.argv[1:]).make()
