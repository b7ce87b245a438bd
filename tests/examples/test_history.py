"""Reading histories: hostile ones, empty ones, none at all."""

import subprocess

import pytest


@pytest.fixture
def history(forge):
    return forge("demo.history")


def test_a_hostile_history_is_read_whole(history, hostile):
    """Each commit is there once, in order, with its author as a plain word and its title cut short."""
    commits = history.read_history(hostile.repository.path, 1000)
    assert len(commits) == hostile.commits
    listed = hostile.repository.git("log", "--reverse", "--format=%H").split()
    assert [commit.id for commit in commits] == listed
    assert all(history.re.fullmatch("[a-z0-9-]{1,64}", commit.author) for commit in commits)
    assert all(len(commit.title) <= 200 for commit in commits)
    assert [commit.changed_paths for commit in commits][:6] == [1, 1, 1, 1, 1, 0]
    by_title = {commit.title: commit for commit in commits}
    assert by_title["y" * 200].changed_paths == 1
    assert by_title[":000000 100644 0000000 7898192 A"].changed_paths == 1
    assert by_title["Merge the branch"].changed_paths == 0
    assert "" in by_title


def test_the_newest_commits_are_read_oldest_first(history, repository):
    """A limit takes the end of the history, in its order."""
    ids = [repository.commit(f"Commit {number}") for number in range(5)]
    assert [commit.id for commit in history.read_history(repository.path, 2)] == ids[-2:]


def test_settings_of_the_user_change_nothing(history, repository):
    """Signatures, colours, renames and diffs of merges are not asked for by configuration."""
    repository.commit("First", files=["one"])
    repository.git("checkout", "--quiet", "-b", "topic")
    repository.commit("Second", files=["two"])
    repository.git("checkout", "--quiet", "main")
    repository.git("merge", "--quiet", "--no-ff", "-m", "Merge", "topic")
    before = history.read_history(repository.path, 10)
    settings = {"log.diffMerges": "separate", "log.showSignature": "true", "color.ui": "always",
                "diff.renames": "copies", "log.date": "relative", "format.pretty": "oneline"}  # fmt: skip
    for name, value in settings.items():
        repository.git("config", name, value)
    assert history.read_history(repository.path, 10) == before
    assert len(before) == 3


def test_a_repository_without_commits(history, repository):
    """It is told from a folder that is no repository."""
    with pytest.raises(history.EmptyHistory, match="has no commits yet"):
        history.read_history(repository.path, 10)


def test_a_folder_without_a_repository(history, tmp_path, monkeypatch):
    """The reason is one plain sentence."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    with pytest.raises(history.NoHistory, match="is not in a git repository"):
        history.read_history(tmp_path, 10)


def test_without_git(history, tmp_path, monkeypatch):
    """The reason is told, not a traceback."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(history.NoHistory, match="git is not installed"):
        history.read_history(tmp_path, 10)


def test_a_folder_inside_a_repository(history, repository):
    """The repository around a folder is found, and variables that point elsewhere are not followed."""
    repository.commit("First", files=["one"])
    inside = repository.path / "inside"
    inside.mkdir()
    assert len(history.read_history(inside, 10)) == 1


def test_variables_of_git_do_not_lead_elsewhere(history, repository, tmp_path, monkeypatch):
    """A hook runs with GIT_DIR set; a repository that is named goes before it."""
    repository.commit("First")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    assert len(history.read_history(repository.path, 10)) == 1


def test_a_shallow_clone(history, repository, tmp_path):
    """What was cut off is not missed."""
    for number in range(5):
        repository.commit(f"Commit {number}", files=[f"file-{number}"])
    clone = tmp_path / "clone"
    url = f"file://{repository.path}"
    subprocess.run(["git", "clone", "--quiet", "--depth=2", url, str(clone)], check=True, capture_output=True)
    commits = history.read_history(clone, 10)
    assert [commit.title for commit in commits] == ["Commit 3", "Commit 4"]


def test_a_repository_with_long_ids(history, tmp_path, forge):
    """Repositories with SHA-256 have ids of 64 digits, which the contract takes."""
    made = subprocess.run(
        ["git", "init", "--quiet", "--object-format=sha256", str(tmp_path / "long")],
        check=False, capture_output=True,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("this git knows no SHA-256")
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    command = [
        "git",
        "-C",
        str(tmp_path / "long"),
        *identity,
        "commit",
        "--quiet",
        "--allow-empty",
        "-m",
        "First",
    ]
    subprocess.run(command, check=True)
    commits = history.read_history(tmp_path / "long", 10)
    assert len(commits[0].id) == 64
    forge("git.services").receive_push("refs/heads/main", commits)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Ada Lovelace", "ada-lovelace"),
        ("José Ñandú 🦤", "jose-nandu"),
        ("Robert'); DROP TABLE git_commit;--", "robert-drop-table-git-commit"),
        ("\x1b[31mRed", "31mred"),
        ("x" * 500, "x" * 40),
        ("a" * 39 + " b", "a" * 39),
    ],
)
def test_slugs(history, name, expected):
    """An author's name becomes a plain word."""
    assert history.slug(name, "someone@example.com") == expected


def test_slugs_of_names_without_a_letter(history):
    """They are told apart by a digest, the same one each time."""
    one, other = history.slug("李雷", "lei@example.com"), history.slug("🦄", "lei@example.com")
    assert one != other
    assert one == history.slug("李雷", "lei@example.com")
    assert history.slug("", "").startswith("author-")


def test_commits_are_bundled_into_pushes(forge, commit):
    """Consecutive commits by one author go together, up to a limit; each third push to the default branch."""
    authors = ["ada"] * 10 + ["grace"] + ["ada"] * 2 + ["klaus"] * 200
    commits = [commit(number, author=author) for number, author in enumerate(authors)]
    pushes = forge("demo.pushes").bundle(commits)
    assert [len(push.commits) for push in pushes] == [8, 2, 1, 2, *[8] * 25]
    assert [push.ref.rpartition("/")[2] for push in pushes][:5] == ["main", "ada", "grace", "main", "klaus"]
    assert [each for push in pushes for each in push.commits] == commits


@pytest.mark.parametrize(("commits", "pushes"), [(0, 0), (1, 1), (24, 24), (50, 25), (100, 25), (400, 50)])
def test_a_short_history_has_small_pushes(forge, commit, commits, pushes):
    """A demo with a single push would show little."""
    made = forge("demo.pushes").bundle([commit(number) for number in range(commits)])
    assert len(made) == pushes


def test_the_made_up_history_needs_no_git(forge, tmp_path, monkeypatch):
    """With and without git there are as many commits by the same authors."""
    make = forge("demo.made_up").make_history
    with_git = make(tmp_path / "one", 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    without = make(tmp_path / "two", 1000)
    assert [(each.author, each.title) for each in with_git] == [(each.author, each.title) for each in without]
    assert len({each.id for each in without}) == len(without)
