# SPDX-License-Identifier: GPL-2.0-or-later
"""Install pip into the running environment from PyPI, with nothing but the standard library.

For Pythons whose distribution splits ensurepip out. The index's own hash of the wheel is checked.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from urllib.parse import urljoin

INDEX = "https://pypi.org/simple/pip/"
JSON = "application/vnd.pypi.simple.v1+json"


def version(filename: str) -> tuple[int, ...]:
    """The numbers in the name of a wheel for Python 3; none for a pre-release or another file."""
    release = re.fullmatch(r"pip-([0-9.]+)-py3-none-any\.whl", filename)
    return tuple(map(int, release[1].split("."))) if release else ()


def main() -> int:
    request = urllib.request.Request(INDEX, headers={"Accept": JSON})
    with urllib.request.urlopen(request, timeout=60) as answer:
        files = json.load(answer)["files"]
    wheels = [file for file in files if version(file["filename"]) and not file.get("yanked")]
    wheel = max(wheels, key=lambda file: version(file["filename"]))
    with urllib.request.urlopen(urljoin(INDEX, wheel["url"]), timeout=60) as answer:
        data = answer.read()
    if hashlib.sha256(data).hexdigest() != wheel["hashes"]["sha256"]:
        print("get_pip: the wheel does not match its hash", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / wheel["filename"]
        path.write_bytes(data)
        command = [sys.executable, f"{path}/pip", "install", "--quiet", "--no-index", str(path)]
        return subprocess.call(command)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError, LookupError) as error:
        print(f"get_pip: no pip from {INDEX}: {error!r}", file=sys.stderr)
        sys.exit(1)
