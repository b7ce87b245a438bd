"""A small made-up history, for where there is no repository to replay."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from typing import Final

from forge.demo.history import NoHistory, git, read_history, slug
from forge.git.services import Commit

_COMMITS: Final = 240
_RUN: Final = 3  # this many commits in a row are by the same author
_START: Final = 1_700_000_000
_AUTHORS: Final = (
    ("Ada Lovelace", "ada@example.com"),
    ("Grace Hopper", "grace@example.com"),
    ('Niklaus "Klaus" Wirth', "niklaus@example.com"),
    ("José Ñandú 🦤", "jose@example.com"),
    ("李雷", "lei@example.com"),
)
_VERBS: Final = ("Add", "Change", "Mend", "Remove")
_THINGS: Final = ("the login page", "the search box", "a flaky test", "the invoice template", "a typo")


@dataclass(frozen=True, slots=True)
class _Draft:
    """A commit that nobody has made: who, when and what."""

    number: int
    name: str
    email: str

    @property
    def title(self) -> str:
        verb = _VERBS[self.number % len(_VERBS)]
        return f"{verb} {_THINGS[self.number % len(_THINGS)]} ({self.number})"


def make_history(folder: Path, most: int) -> list[Commit]:
    """Make a small repository and read it; without git, the same history without a repository."""
    drafts = [_Draft(number, *_AUTHORS[number // _RUN % len(_AUTHORS)]) for number in range(1, _COMMITS + 1)]
    try:
        _make_repository(folder, drafts)
        return read_history(folder, most)
    except NoHistory:
        return [_commit(draft) for draft in drafts][-most:]


def _commit(draft: _Draft) -> Commit:
    identity = sha1(draft.title.encode(), usedforsecurity=False).hexdigest()
    return Commit(identity, slug(draft.name, draft.email), draft.title, 1)


def _make_repository(folder: Path, drafts: Sequence[_Draft]) -> None:
    folder.mkdir()
    git(folder, "init", "--quiet", "--template=")
    git(folder, "symbolic-ref", "HEAD", "refs/heads/main")
    git(folder, "fast-import", "--quiet", stdin=b"".join(_stream(drafts)))


def _stream(drafts: Sequence[_Draft]) -> Iterator[bytes]:
    """Write the history in the format of `git fast-import`."""
    for draft in drafts:
        committer = f"{draft.name} <{draft.email}> {_START + 3600 * draft.number} +0000"
        yield f"commit refs/heads/main\ncommitter {committer}\n".encode()
        yield _data(draft.title)
        yield f"M 100644 inline file-{draft.number % 20}.txt\n".encode()
        yield _data(draft.title)


def _data(text: str) -> bytes:
    encoded = text.encode()
    return b"data %d\n%s\n" % (len(encoded), encoded)
