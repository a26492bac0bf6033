"""Every command of the README composes, parses or names a file that is there; the tree is the tree."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from stylization import cli
from stylization.configuration import CONF, register_resolvers

ROOT = CONF.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.split("#")[0].strip()
]


def test_the_two_lines_are_there_and_ci_runs_the_second() -> None:
    assert "pip install uv && uv run train.py norm=instance style=mosaic" in COMMANDS
    assert "pip install uv && uv run pytest" in COMMANDS
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "pip install uv && uv run pytest"


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command: str) -> None:
    words = shlex.split(command.removeprefix("pip install uv && "))
    words = words[2:] if words[:2] == ["uv", "run"] else words
    words = words[2:] if words[0] == "--extra" else words
    words = words[1:] if words[0] == "python" else words
    if words[0] == "train.py":
        _composes([word for word in words[1:] if not word.startswith("-")])
    elif words[0] == "stylization":
        cli.parsed(words[1:])
    elif words[0].startswith("benchmarks/"):
        source = (ROOT / words[0]).read_text()
        assert all(f'"{word}"' in source for word in words[1:] if word.startswith("--"))
    elif words[:2] == ["-m", "stylization.styles"]:
        assert (ROOT / "stylization" / "styles" / "__main__.py").exists()
    else:
        assert words[0] in ("pytest", "ruff", "mypy", "pip", "git", "cd")


def _composes(overrides: list[str]) -> None:
    register_resolvers()
    swept = [
        re.split(r",(?![^\[]*\])", override)[0]
        for override in overrides
        if override != "job" and not override.startswith("hydra")
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        compose("config", swept)


def test_every_file_of_the_tree_is_there_and_every_module_is_in_the_tree() -> None:
    (tree,) = re.findall(r"```text\n(train\.py.*?)```", README, flags=re.DOTALL)
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
            assert path in listed, f"{path.name} is missing from the README's tree"
