"""Installs the locked uv into a virtual environment of a Python without pip and ensurepip.

`uv.lock` names the wheel and its digest: exactly the locked file is fetched. Standard library only.
"""

import hashlib
import io
import platform
import sys
import tomllib
import urllib.request
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def wheel() -> tuple[str, str]:
    """Return address and sha256 of uv's wheel for this machine."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))
    uv = next(package for package in lock["package"] if package["name"] == "uv")
    libc = "musllinux" if platform.libc_ver()[0] != "glibc" else "manylinux"
    for candidate in uv["wheels"]:
        if libc in candidate["url"] and platform.machine() in candidate["url"]:
            return candidate["url"], candidate["hash"].removeprefix("sha256:")
    raise SystemExit(
        f"uv has no wheel for {libc} on {platform.machine()}: install uv, then run make again"
    )


def main() -> None:
    """Fetch, verify, unpack the one program."""
    address, digest = wheel()
    with urllib.request.urlopen(address, timeout=120) as answer:  # noqa: S310 - the address is the lock's, https
        content = answer.read()
    if hashlib.sha256(content).hexdigest() != digest:
        raise SystemExit(f"{address}: the content is not what uv.lock says; nothing was installed")
    target = Path(sys.argv[1]) / "bin" / "uv"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        program = next(name for name in archive.namelist() if name.endswith("/scripts/uv"))
        target.write_bytes(archive.read(program))
    target.chmod(0o755)


if __name__ == "__main__":
    main()
