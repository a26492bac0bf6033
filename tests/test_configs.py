"""Every option of every group and every recipe composes and builds; mistyped ones are told in one line, at once."""

import ast
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict
from PIL import Image

from stylization import configuration, styles
from stylization.conditions import Condition, condition
from stylization.configuration import CONF, built_trainer, plain, register_resolvers, with_several_styles
from stylization.errors import InputError
from stylization.loss_networks import vgg
from stylization.normalization import norms
from stylization.probe import write_option

ROOT = CONF.parent
GROUPS = sorted(p.name for p in CONF.iterdir() if p.is_dir())
OPTIONS = [(p.parent.name, p.stem) for p in sorted(CONF.glob("*/*.yaml"))]


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """One picture as a folder, a zip and a shard."""
    Image.new("RGB", (64, 64)).save(tmp_path / "one.png")
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        archive.write(tmp_path / "one.png")
    with tarfile.open(tmp_path / "one.tar", "w") as shard:
        shard.add(tmp_path / "one.png", "one.png")
    return tmp_path


def composed(overrides: list[str], photos: Path) -> DictConfig:
    held_out = ["data.num_held_out=0"] if "experiment=bundled" in overrides else []  # of one photograph
    unnamed = overrides[0] == "style=several" and not any(word.startswith("style.names") for word in overrides)
    named = ["style.names=[mosaic,ink]"] if unnamed else []
    config = compose("config", [*overrides, *named, *held_out, f"folder={photos}/run"])
    places = {"folder": photos, "Zip": photos / "one.zip", "Shards": photos / "one.tar"}
    if (kind := config.data.source._target_.rsplit(".", 1)[1]) in places:
        config.data.source.path = str(places[kind])
    for other in ("held_out_source", "targets"):  # of data=prepared and data=pairs
        if config.data.get(other, {}).get("_target_") == "stylization.content.folder":
            config.data[other].path = str(photos)
    return config


def build(config: DictConfig, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """All that train.py builds, but with zeros for weights where torchvision's would be fetched, and no GPU asked."""
    monkeypatch.setattr(vgg, "_torchvision_weights", lambda name: _zero_state(name))
    with open_dict(config):
        config.trainer.accelerator, config.trainer.precision = "cpu", "32-true"
        if "wandb" in config.logger:
            config.logger.wandb.offline = True
    built = {name: instantiate(config[name]) for name in ("generator", "loss_network", "optimizer")}
    built["trainer"] = built_trainer(config)
    built["data"] = instantiate(config.data, _convert_="all")
    style = [[styles.read(option["image"], 64)] for option in config.style.get("pictures", [config.style])]
    network = built["loss_network"]
    built["objective"] = instantiate(config.objective, loss_network=network, style=style, _convert_="all")
    built["callbacks"] = {name: instantiate(section) for name, section in config.callbacks.items()}
    built["logger"] = {name: instantiate(section) for name, section in config.logger.items()}
    return built


def _zero_state(name: str) -> dict[str, torch.Tensor]:
    depths = vgg.VGG16_DEPTHS if name == "vgg16" else vgg.VGG19_DEPTHS
    with torch.device("meta"):
        state = vgg.VGG(depths, vgg.VGG_WIDTHS).state_dict()
    return {key: torch.zeros(value.shape) for key, value in state.items()}


def test_groups_are_those_of_the_sentence() -> None:
    words = "style norm generator loss_network objective data optimizer trainer logger callbacks experiment"
    assert sorted(words.split()) == GROUPS


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_builds(
    group: str, option: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = ["objective.content_layers=[relu1_1]", "objective.style_layers=[relu1_1]"]
    needs_vgg = [] if group in ("objective", "experiment") else layers
    network = ["loss_network=vgg19"] if group == "objective" and option != "relative" else []
    if (group, option) == ("objective", "johnson") or option == "pytorch_examples":
        network = ["loss_network=vgg16"]
    built = build(composed([f"{group}={option}", *network, *needs_vgg], photos), monkeypatch)
    optimizer = built["optimizer"].algorithm(built["generator"].parameters())
    schedule = built["optimizer"].schedule(optimizer)
    optimizer.step()
    schedule.step()
    objective = built["objective"]
    objective.loss_network.check([*objective.content_layers, *objective.style_layers])


@pytest.mark.parametrize("generator", ["johnson", "pyramid"])
@pytest.mark.parametrize("norm", [option for group, option in OPTIONS if group == "norm"])
def test_every_norm_goes_into_every_generator(generator: str, norm: str, photos: Path) -> None:
    config = composed([f"norm={norm}", f"generator={generator}", "generator.width=8"], photos)
    network = instantiate(config.generator)
    assert bool(list(norms(network))) == (norm != "none")
    condition(network, Condition.of([1.0]))
    images = torch.rand(2, 3, 21, 34)
    assert network.train()(images).shape == network.eval()(images).shape == images.shape


def test_every_bundled_style_has_its_option() -> None:
    assert [option for group, option in OPTIONS if group == "style" and option not in ("all", "several")] == (
        styles.names()
    )
    assert compose("config", ["style=all"]).style.names == styles.names()


@pytest.mark.parametrize(
    ("image", "name"),
    [("mosaic", "mosaic"), ("a/b/my cat.jpeg", "my cat"), ("https://example.org/w/wave.png?x=1", "wave")],
)
def test_a_style_is_called_after_its_picture(image: str, name: str, photos: Path) -> None:
    config = composed([f"style.image='{image}'"], photos)
    assert plain(config)["style"]["name"] == name


def test_styles_keep_what_their_options_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: Path) -> None:
    shutil.copytree(CONF, tmp_path / "conf")
    monkeypatch.setattr(configuration, "CONF", tmp_path / "conf")
    picture = tmp_path / "sea.jpg"
    shutil.copy(styles.picture_path("waves"), picture)
    write_option(tmp_path / "conf" / "style", str(picture), 200, 12.0)
    words = with_several_styles([f"style=[sea,ink,{photos}/one.png]", "norm=conditional"])
    assert words[:2] == ["style=several", f"style.names=[sea,ink,{photos}/one.png]"]
    config = plain(composed(words, photos))
    options = config["style"]["pictures"]
    assert [(o["name"], o["size_px"], o["weight"]) for o in options] == [
        ("sea", 200, 12.0),
        ("ink", 384, None),
        ("one", 384, None),
    ]
    assert config["style"]["name"] == "sea+ink+one" and config["norm"]["num_styles"] == 3
    assert options[0]["image"] == str(picture) and options[2]["image"] == f"{photos}/one.png"
    for wrong in ("[ink,ink]", "[all]", "[]"):
        with pytest.raises(Exception, match="give"):
            plain(composed(with_several_styles([f"style={wrong}"]), photos))


def test_targets_are_two_deep_at_most() -> None:
    def depth(node: Any) -> int:
        if not isinstance(node, dict):
            return 0
        return ("_target_" in node) + max((depth(value) for value in node.values()), default=0)

    for group, option in OPTIONS:
        if group == "experiment":
            continue
        config = plain(
            compose(
                "config",
                [
                    *(f"{group}={option}", "folder=x", "++data.source.path=x", "++data.targets.path=x"),
                    *(["style.names=[mosaic]"] if option == "several" else []),
                ],
            )
        )
        config["generator"]["norm"] = None  # handed down by reference, not nested in the file
        assert depth(config) <= 2, (group, option)


def train(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("norm=instnace", ["did you mean instance?", "batch, conditional, group, instance, layer, none, sync_batch"]),
        ("styl=mosaic", ["did you mean style?", "generator, logger"]),
        ("norm.epss=1", ["did you mean eps?", "affine, channels_per_group"]),
        ("style=mosiac", ["did you mean mosaic?", "swirl, watercolor, waves, woodcut", "style.image=<path"]),
        ("experiment=jonson", ["did you mean johnson2016?"]),
        ("mosaic", ["key=value"]),
    ],
)
def test_a_typo_is_told_with_what_there_is(typed: str, told: list[str]) -> None:
    result = train(typed)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and result.stderr.startswith("error: ")
    assert all(part in result.stderr for part in told)


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["norm=instnace"]])
def test_what_trains_nothing_imports_no_pytorch(arguments: list[str]) -> None:
    code = f"import sys, runpy; sys.argv = ['train.py', *{arguments}]\n"
    code += "try: runpy.run_path('train.py', run_name='__main__')\n"
    code += "except SystemExit: pass\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


def test_help_may_be_piped_to_head() -> None:
    command = f"{sys.executable} train.py --help | head -1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.stdout.startswith("Train a generator") and result.stderr == ""


def test_only_those_who_compose_know_hydra() -> None:
    composers = {"train.py", "stylization/configuration.py", "stylization/overrides.py"}
    for path in [ROOT / "train.py", *(ROOT / "stylization").rglob("*.py")]:
        if path.relative_to(ROOT).as_posix() not in composers:
            assert not imports(path) & {"hydra", "omegaconf"}, path


def test_who_may_know_whom() -> None:
    """The architecture's arrows: nobody above imports from below."""
    forbidden = {
        "images": ("content", "generators", "loss_networks", "objective", "training", "stylizer", "normalization"),
        "content": ("generators", "loss_networks", "objective", "training", "stylizer", "normalization"),
        "normalization": ("content", "generators", "loss_networks", "objective", "training", "images"),
        "loss_networks": ("content", "generators", "objective", "training", "normalization", "distillation"),
        "generators": ("content", "loss_networks", "objective", "training", "normalization"),
        "objective": ("generators", "content", "training", "normalization", "stylizer"),
        "training": ("generators", "normalization", "callbacks", "stylizer"),
        "stylizer": ("training", "objective", "loss_networks", "content", "callbacks"),
        "video": ("training", "generators", "objective", "loss_networks", "content", "callbacks", "cli"),
        "report": ("training", "callbacks", "loss_networks"),
        "serve": ("training", "objective", "loss_networks", "content", "callbacks", "configuration"),
        "model_file": ("training", "objective", "loss_networks", "content", "callbacks"),
    }
    package = ROOT / "stylization"
    for module, others in forbidden.items():
        paths = (
            [package / f"{module}.py"] if (package / f"{module}.py").exists() else list((package / module).glob("*.py"))
        )
        assert paths
        for path in paths:
            known = {name.removeprefix("stylization.").split(".")[0] for name in modules(path)}
            assert not known & set(others), f"{path} imports {known & set(others)}"


def imports(path: Path) -> set[str]:
    return {name.split(".")[0] for name in modules(path)}


def modules(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize(
    "override",
    [
        *(
            "seed=-1",
            "generator.width=0",
            "generator.num_blocks=1000000000",
            "data.batch_size=1e9",
            "data.size_px=null",
        ),
        *("style.size_px=[1]", "norm.eps=nan", "trainer.max_steps=0", "optimizer.lr=-1", "data.num_workers=x"),
        *("objective.weights.style=inf", "objective.content_layers=[]", "objective.style_layers=null"),
        *("callbacks.checkpoint.every_n_train_steps=0", "data.held_out_size_px=true"),
    ],
)
def test_settings_of_a_wrong_type_or_range_are_rejected_by_name(override: str) -> None:
    key = override.split("=")[0]
    with pytest.raises(InputError, match=f"^{re.escape(key)}=.*: not accepted; give "):
        configuration.check_settings(compose("config", [override, "folder=run"]))
