"""Reading the history of a git repository, whatever its authors and messages contain."""

import os
import re
import shutil
import subprocess
import unicodedata
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

from forge.git.services import Commit

TITLE_LIMIT: Final = 200
_SLUG_LIMIT: Final = 40
_TIMEOUT: Final = 120
_PLACE: Final = ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY")
_LOG: Final = (
    "-c", "log.diffMerges=off", "log", "-z", "--reverse", "--raw", "--no-renames", "--no-color",
    "--no-ext-diff", "--no-show-signature", "--encoding=UTF-8", "--format=tformat:%H%x00%an%x00%ae%x00%s",
)  # fmt: skip


class NoHistory(Exception):
    """There is no history to replay; the text says why."""


class EmptyHistory(NoHistory):
    """There is a repository, and nobody has committed anything to it."""


def read_history(path: Path, most: int) -> list[Commit]:
    """Return the newest commits of the repository that `path` is in, oldest first.

    Raises `NoHistory`, `EmptyHistory`.
    """
    git(path, "rev-parse", "--git-dir")
    try:
        git(path, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except NoHistory:
        raise EmptyHistory(f"the git repository at {path} has no commits yet") from None
    output = git(path, *_LOG, f"--max-count={most}")
    return list(_commits(iter(output.decode("utf-8", "replace").split("\0"))))


def git(path: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    """Run git in a folder and return its output. Raises `NoHistory` with git's own reason."""
    program = shutil.which("git")
    if program is None:
        raise NoHistory("git is not installed")
    environment = {name: value for name, value in os.environ.items() if name not in _PLACE}
    try:
        done = subprocess.run(
            [program, "-C", str(path), *arguments],
            input=stdin,
            capture_output=True,
            env=environment | {"LC_ALL": "C"},
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NoHistory(f"git did not answer about {path} within {_TIMEOUT} seconds") from None
    if b"not a git repository" in done.stderr:
        raise NoHistory(f"{path} is not in a git repository")
    if done.returncode:
        raise NoHistory(f"git cannot read {path}: {_reason(done.stderr)}")
    return done.stdout


def _reason(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[0].removeprefix("fatal: ") if lines else "it does not say why"


def _commits(tokens: Iterator[str]) -> Iterator[Commit]:
    """Read four fields for each commit, then a pair of status and path for each path it changed.

    A status begins with a colon, which the id of the next commit never does.
    """
    token = next(tokens, "")
    while token:
        name, email, title = next(tokens), next(tokens), next(tokens)
        paths, following = 0, next(tokens, "")
        while following.lstrip("\n").startswith(":"):
            next(tokens)
            paths, following = paths + 1, next(tokens, "")
        yield Commit(token, slug(name, email), title[:TITLE_LIMIT], paths)
        token = following


def slug(name: str, email: str) -> str:
    """Turn an author into a word of lower-case letters, digits and hyphens, the same one each time."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", plain.lower())
    readable = "-".join(words)[:_SLUG_LIMIT].strip("-")
    return readable or f"author-{sha256(f'{name} {email}'.encode()).hexdigest()[:8]}"
