"""Commands, links and pictures of README.md and docs/ are valid, and the documented source tree is complete."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from stylization import cli
from stylization.configuration import CONF, register_resolvers, with_several_styles

ROOT = CONF.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MAX_README_LINES = 200
DIALECT = re.compile(r"\b(told|anew|whatever|dear|for ever)\b", re.IGNORECASE)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def _commands(text: str) -> list[str]:
    return [
        line.split("#")[0].strip()
        for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
        if line.split("#")[0].strip()
    ]


COMMANDS = sorted({command for page in PAGES for command in _commands(page.read_text())})


def test_readme_has_the_two_setup_commands_and_ci_runs_the_second() -> None:
    commands = _commands(README)
    assert "pip install uv && uv run train.py norm=instance style=mosaic" in commands
    assert "pip install uv && uv run pytest" in commands
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "pip install uv && uv run pytest"


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command: str) -> None:
    for part in command.removeprefix("pip install uv && ").split(" && "):
        _check(shlex.split(part))


def _check(words: list[str]) -> None:
    words = words[2:] if words[:2] == ["uv", "run"] else words
    words = words[2:] if words[0] == "--extra" else words
    words = words[1:] if words[0] == "python" else words
    if words[0] == "train.py":
        _composes([word for word in words[1:] if not word.startswith("-")])
    elif words[0] == "stylization":
        if "--help" not in words:
            cli.parsed(words[1:])
    elif words[0].startswith("benchmarks/"):
        sources = [(ROOT / "benchmarks" / name).read_text() for name in (Path(words[0]).name, "common.py")]
        for word in words[1:]:
            assert not word.startswith("--") or any(f'"{word}"' in source for source in sources), word
    elif words[:2] == ["-m", "stylization.styles"]:
        assert (ROOT / "stylization" / "styles" / "__main__.py").exists()
    else:
        assert words[0] in ("pytest", "ruff", "mypy", "pip", "git", "cd") or words[:2] == ["uv", "pip"]
        for word in words[1:]:
            assert not word.startswith("tests/") or (ROOT / word).exists(), word


def _composes(overrides: list[str]) -> None:
    register_resolvers()
    swept = [
        re.split(r",(?![^\[]*\])", override)[0]
        for override in with_several_styles(["train.py", *overrides])[1:]
        if override != "job" and not override.startswith("hydra")
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        compose("config", swept)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_and_pictures_exist(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target.read_text()), link


def _anchors(text: str) -> set[str]:
    """Anchors of a page's headings as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_file_in_docs_is_referenced() -> None:
    text = "".join(page.read_text() for page in PAGES)
    for path in (ROOT / "docs").iterdir():
        assert path.is_dir() or path.name in text, path.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_prose_is_plain_english(page: Path) -> None:
    assert not DIALECT.findall(page.read_text())


def test_source_tree_is_complete_and_every_listed_file_exists() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    (tree,) = re.findall(r"```text\n(train\.py.*?)```", page, flags=re.DOTALL)
    folders: list[str] = []
    listed: set[Path] = set()
    for line in tree.splitlines():
        indent = (len(line) - len(line.lstrip())) // 2
        for name in re.split(r"\s{2,}", line.strip())[0].split():
            folders = [*folders[:indent], name]
            path = ROOT.joinpath(*folders)
            assert path.exists(), path
            listed.add(path)
    for path in (ROOT / "stylization").glob("*"):
        if path.name not in ("__pycache__",):
            assert path in listed, f"{path.name} is missing from the tree in docs/architecture.md"
