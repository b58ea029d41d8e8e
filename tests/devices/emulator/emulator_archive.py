"""Small Debian packages and wheels, and a server of them that cuts, alters and refuses on request."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from edgeml_devices.emulator.fetch import FetchLimits, Mirrors
from edgeml_devices.emulator.lock import Lock, Package, SitePin, Wheel

FAST = FetchLimits(timeout_s=5.0, waits_s=(0.01, 0.01))


def tar_member(name, content=None, *, link=None, hard=None, mode=0o644, kind=None):
    """One member of a tar archive, as (information, content)."""
    member = tarfile.TarInfo(name)
    member.mode = mode
    if link is not None:
        member.type, member.linkname = tarfile.SYMTYPE, link
    elif hard is not None:
        member.type, member.linkname = tarfile.LNKTYPE, hard
    elif kind is not None:
        member.type = kind
    elif content is None:
        member.type, member.mode = tarfile.DIRTYPE, 0o755
    else:
        member.size = len(content)
    return member, content


def ar_member(name, content, size=None):
    """One member of an ar archive (deb(5))."""
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content) if size is None else size:<10}`\n"
    return header.encode() + content + b"\n" * (len(content) % 2)


def deb(*members, compression="xz"):
    """A Debian package of tar members."""
    ending = f".{compression}" if compression else ""
    control = tar_of(tar_member("./control", b"Package: some\nVersion: 1\nArchitecture: all\n"), compression="xz")
    return b"!<arch>\n" + b"".join(
        (
            ar_member("debian-binary", b"2.0\n"),
            ar_member("control.tar.xz", control),
            ar_member(f"data.tar{ending}", tar_of(*members, compression=compression)),
        )
    )


def tar_of(*members, compression):
    """A tar archive of members."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=f"w:{compression}") as archive:
        for member, data in members:
            archive.addfile(member, None if data is None else io.BytesIO(data))
    return content.getvalue()


def deb_of(files):
    """A Debian package of files, by path; those of ``bin`` folders are executable."""
    modes = {name: 0o755 if "/bin/" in name else 0o644 for name in files}
    return deb(*(tar_member(f"./{name}", content, mode=modes[name]) for name, content in files.items()))


def wheel_of(name, version, files):
    """A wheel that pip accepts."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    whole = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\nTag: cp311-cp311-any\n",
    }
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path, data in whole.items():
            archive.writestr(zipfile.ZipInfo(path), data)
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD"), "".join(f"{path},,\n" for path in whole))
    return content.getvalue()


class Archive:
    """A mirror and a package index at once, on this machine.

    ``faults`` has what to do on the next requests of a path, in turn: a number is a status to answer with,
    ``("cut", n)`` ends after n bytes, ``("other", content)`` sends something else, ``("endless", content)`` without
    saying how much, ``"whole"`` ignores the range asked for, and a function is called before the answer.
    """

    def __init__(self):
        self.files = {}
        self.faults = {}
        self.requests = []
        self.base = ""

    @property
    def mirrors(self):
        """The only mirror, with little patience."""
        return Mirrors(bases=(f"{self.base}/debian",), limits=FAST)

    def package(self, name, content, version="1:1.0-1", **more):
        """Put a package into the archive."""
        pool = f"pool/{name}_{hashlib.sha256(content).hexdigest()[:8]}.deb"
        self.files[f"/debian/{pool}"] = content
        sha256 = hashlib.sha256(content).hexdigest()
        return Package(name=name, version=version, pool=pool, size_bytes=len(content), sha256=sha256, **more)

    def wheel(self, name, files, version="1.0"):
        """Put a wheel into the index."""
        content = wheel_of(name, version, files)
        file = f"{name.replace('-', '_')}-{version}-cp311-cp311-manylinux_2_28_aarch64.whl"
        self.files[f"/wheels/{file}"] = content
        self.files[f"/simple/{name}/"] = f'<!DOCTYPE html><a href="/wheels/{file}">{file}</a>'.encode()
        return Wheel(
            name=name, version=version, file=file, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
        )

    def asked(self, ending):
        """How often a file was asked for, and from which byte each time."""
        return [start for path, start in self.requests if path.endswith(ending)]

    def fail(self, ending, *faults):
        """Misbehave on the next requests of a file."""
        (path,) = [path for path in self.files if path.endswith(ending)]
        self.faults[path] = list(faults)


def site(*wheels, name="tflite"):
    """Wheels of an aarch64 Python."""
    return SitePin(name=name, python_version="3.11", platforms=("manylinux_2_28_aarch64",), wheels=wheels)


def lock(name, *packages, sites=(), links=(), unpacked_bytes=10_000, digest=None):
    """A lock of packages of an archive."""
    return Lock(
        name=name,
        unpacked_bytes=unpacked_bytes,
        links=links,
        packages=packages,
        sites=sites,
        digest=digest or hashlib.sha256(repr((packages, sites, links)).encode()).hexdigest(),
    )


@contextmanager
def served():
    """An archive that answers."""
    archive = Archive()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            start = int(self.headers.get("Range", "bytes=0-")[len("bytes=") : -1])
            archive.requests.append((self.path, start))
            fault = next(iter(archive.faults.get(self.path, ())), None)
            if fault is not None:
                archive.faults[self.path].pop(0)
            if callable(fault):
                fault()
            content = archive.files.get(self.path)
            if content is None or isinstance(fault, int):
                self.send_error(404 if content is None else fault)
                return
            if fault == "whole":
                start = 0
            kind, what = fault if isinstance(fault, tuple) else (None, None)
            content = what if kind in {"other", "endless"} else content
            body = content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Type", "text/html" if self.path.startswith("/simple") else "application/zip")
            if kind != "endless":
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(ConnectionError):
                self.wfile.write(body[:what] if kind == "cut" else body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        archive.base = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield archive
        finally:
            server.shutdown()
            thread.join()
