"""A model file rebuilds its generator exactly, and any other file is refused."""

import json
import os
import random
import struct
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from test_images import small_files_only  # noqa: F401  # a fixture
from test_runs import flipped, mutated, one_line
from torch import nn

import stylization
from stylization import card, cli, model_file
from stylization.errors import InputError
from stylization.generators import Johnson, Pyramid
from stylization.normalization import Norm

ARCHITECTURE: dict[str, Any] = {
    "generator": {"_target_": "stylization.generators.Johnson", "width": 4, "num_blocks": 1, "norm": None},
    "norm": {"_target_": "stylization.normalization.Norm", "_partial_": True, "train_statistics": "batch"},
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    model_file.write(path, model_file.build(ARCHITECTURE), ARCHITECTURE, {"style": "test"})
    return path


@pytest.mark.parametrize("generator", [Johnson, Pyramid])
@pytest.mark.parametrize("statistics", ["instance", "running"])
def test_what_is_read_computes_what_was_written(tmp_path: Path, generator: type[nn.Module], statistics: str) -> None:
    options = {"statistics": statistics}
    network = generator(norm=partial(Norm, **options), width=4).train()  # type: ignore[call-arg]
    images = torch.rand(2, 3, 37, 50)
    network(images)
    architecture = {
        "generator": {"_target_": f"stylization.generators.{generator.__name__}", "width": 4},
        "norm": {"_target_": "stylization.normalization.Norm", "_partial_": True, **options},
    }
    path = tmp_path / "model.safetensors"
    model_file.write(path, network, architecture, {"steps": 3})
    read, facts = model_file.read(path)
    assert torch.equal(read(images), network.eval()(images))
    assert facts == {"steps": 3}


def test_a_file_can_only_name_our_own_parts(tmp_path: Path, model: Path) -> None:
    architecture = json.loads(json.dumps(ARCHITECTURE))
    architecture["generator"]["_target_"] = "os.system"
    metadata = {"format": model_file.FORMAT, "architecture": json.dumps(architecture), "facts": "{}"}
    save_file(load_file(model), tmp_path / "evil.safetensors", metadata)
    with pytest.raises(InputError, match=r"os\.system"):
        model_file.read(tmp_path / "evil.safetensors")


def test_other_files_are_refused(tmp_path: Path, model: Path) -> None:
    whole = model.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-100])
    (tmp_path / "text.safetensors").write_text("no model")
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    for name, reason in (
        ("cut.safetensors", "cut, damaged"),
        ("text.safetensors", "cut, damaged"),
        ("foreign.safetensors", "not a model"),
        ("absent.safetensors", "no model file"),
    ):
        with pytest.raises(InputError, match=reason):
            stylization.load(tmp_path / name)
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match="has not finished a step"):
        stylization.load(tmp_path / "run")


@pytest.mark.usefixtures("small_files_only")
def test_full_disk_while_the_model_is_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write"):
        model_file.write(tmp_path / "model.safetensors", model_file.build(ARCHITECTURE), ARCHITECTURE, {})
    assert not list(tmp_path.iterdir())


def test_stylizer_returns_the_kind_and_size_it_was_given(model: Path) -> None:
    stylizer = stylization.load(model)
    picture = Image.effect_noise((41, 30), 60).convert("RGB")
    output = stylizer(picture, strokes="native")
    assert isinstance(output, Image.Image) and output.size == (41, 30)
    array = stylizer(np.asarray(picture), strokes="native")
    assert array.dtype == np.uint8 and np.array_equal(array, np.asarray(output))
    batch = torch.rand(2, 3, 30, 41)
    assert stylizer(batch, strokes="native").shape == batch.shape
    torch.testing.assert_close(stylizer(batch[0], strokes="native"), stylizer(batch, strokes="native")[0])


def test_stylizer_says_what_it_takes(model: Path) -> None:
    stylizer = stylization.load(model)
    with pytest.raises(InputError, match="uint8"):
        stylizer(np.zeros((4, 4)))
    with pytest.raises(InputError, match="float"):
        stylizer(torch.zeros(1, 4, 4))


def written(path: Path, model: Path, architecture: object = ARCHITECTURE, facts: object = None) -> Path:
    """The model's weights under another description; text is written as it is."""
    texts = [value if isinstance(value, str) else json.dumps(value) for value in (architecture, facts or {})]
    metadata = {"format": model_file.FORMAT, "architecture": texts[0], "facts": texts[1]}
    save_file(load_file(model), path, metadata)
    return path


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("generator", "num_blocks", 10**9),
        ("generator", "num_blocks", 200),
        ("generator", "num_blocks", -1),
        ("generator", "num_blocks", True),
        ("generator", "width", 0),
        ("generator", "width", -4),
        ("generator", "width", 4.0),
        ("generator", "width", "4"),
        ("generator", "width", 5),
        ("generator", "width", 4096),
        ("generator", "width", None),
        ("generator", "width", {"_target_": "os.system"}),
        ("generator", "padding", "mirror"),
        ("generator", "padding", ["zero"]),
        ("generator", "_target_", ["stylization.generators.Johnson"]),
        ("generator", "_target_", "stylization.generators.Pyramid"),
        ("generator", "more", 1),
        ("norm", "_target_", None),
        ("norm", "eps", float("1e300")),
        ("norm", "channels_per_group", 0),
        ("norm", "channels_per_group", "some"),
        ("norm", "affine", "false"),
        ("norm", "num_channels", 3),
        ("norm", "train_statistics", 1),
        ("norm", "options", {}),
    ],
)
def test_sizes_and_types_are_checked_before_anything_is_built(
    section: str, key: str, value: object, model: Path, tmp_path: Path
) -> None:
    architecture = json.loads(json.dumps(ARCHITECTURE))
    architecture[section][key] = value
    if (section, key) == ("norm", "num_channels"):
        architecture[section]["_partial_"] = False
        architecture[section]["more"] = 1
    path = written(tmp_path / "changed.safetensors", model, architecture)
    with pytest.raises(InputError) as error:
        model_file.read(path)
    assert str(path) in str(error.value) and str(error.value).isprintable() and len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("architecture", "facts"),
    [
        *(
            ("[]", "{}"),
            ("3", "{}"),
            ("{", "{}"),
            ("{}", "{}"),
            ('{"generator": 1, "norm": 2}', "{}"),
            ("[" * 100_000, "{}"),
        ),
        *((ARCHITECTURE, facts) for facts in ("[]", "null", '{"style": 3}', '{"styles": "mosaic"}', '{"styles": [1]}')),
        *((ARCHITECTURE, facts) for facts in ('{"styles": ["a", "a"]}', '{"style": "\\u001b[31m"}', '{"val": 3}')),
        (ARCHITECTURE, {"styles": [f"style {number}" for number in range(20_000)]}),
        (ARCHITECTURE, {"styles": ["x" * 100_000]}),
        (ARCHITECTURE, {"val_by_style": {"mosaic": [1.0]}}),
        (ARCHITECTURE, {"parameters": "many"}),
        (ARCHITECTURE, {"gap": {"by_style": {}}}),
    ],
)
def test_descriptions_of_wrong_types_are_told_in_one_line(
    architecture: object, facts: object, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "changed.safetensors", model, architecture, facts)
    for command in (["models", str(path)], ["apply", "photo.jpg", "--model", str(path), "--output", "x.jpg"]):
        with pytest.raises(SystemExit) as stopped:
            cli.main(command)
        errors = capsys.readouterr().err
        assert stopped.value.code == 2 and errors.count("\n") == 1, errors


def test_card_escapes_names(model: Path, tmp_path: Path) -> None:
    path = written(tmp_path / "named.safetensors", model, facts={"style": "a|b", "norm": "<b>`x`"})
    assert "| a\\|b |" in card.card(path) and "norm \\<b>\\`x\\`" in card.card(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_rejected(value: float, model: Path, tmp_path: Path) -> None:
    weights = load_file(model)
    next(iter(weights.values())).view(-1)[0] = value
    metadata = {"format": model_file.FORMAT, "architecture": json.dumps(ARCHITECTURE), "facts": "{}"}
    save_file(weights, tmp_path / "bad.safetensors", metadata)
    with pytest.raises(InputError, match="no finite number"):
        model_file.read(tmp_path / "bad.safetensors")


def read_mutants(model: Path, folder: Path, num_mutants: int, seed: int) -> None:
    """Read mutants of a model file: of its header's bytes, and of what its description says."""
    draw = random.Random(seed)
    whole = model.read_bytes()
    length = 8 + struct.unpack("<Q", whole[:8])[0]
    facts = {"style": "a", "val": {"total": 1.0}, "photographs": {"num": 1, "size_px": 2}, "git": None, "seconds": 1}
    for number in range(num_mutants):
        path = folder / "mutant.safetensors"
        if number % 2:
            path.write_bytes(flipped(whole[:length], draw) + whole[length:])
        else:
            written(path, model, mutated(ARCHITECTURE, draw), mutated(facts, draw))
        try:
            model_file.read(path)
            card.card(path)
        except InputError as error:
            one_line(error)


def test_mutants_of_a_model_file_raise_nothing_but_input_errors(model: Path, tmp_path: Path) -> None:
    read_mutants(model, tmp_path, 100, 0)


@pytest.mark.slow
def test_many_mutants_of_a_model_file_raise_nothing_but_input_errors(model: Path, tmp_path: Path) -> None:
    read_mutants(model, tmp_path, 2000, 1)


@pytest.fixture
def stopped_run(tmp_path: Path) -> Path:
    """The folder of a run that was stopped: settings and checkpoints of two steps."""
    folder = tmp_path / "stopped"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "settings.json").write_text(json.dumps({**ARCHITECTURE, "style": {"name": "mosaic"}}))
    for step, name in ((2, "step-000002.ckpt"), (3, "last.ckpt")):
        torch.manual_seed(step)
        state = {f"generator.{key}": value for key, value in model_file.build(ARCHITECTURE).state_dict().items()}
        torch.save({"state_dict": state, "global_step": step}, folder / "checkpoints" / name)
    return folder


def test_a_stopped_run_paints_from_its_last_checkpoint(stopped_run: Path) -> None:
    image = torch.rand(3, 32, 32)
    by_run, by_file = stylization.load(stopped_run), stylization.load(stopped_run / "checkpoints" / "last.ckpt")
    assert by_run.facts["steps"] == 3 and by_run.facts["style"] == "mosaic"
    assert torch.equal(by_run(image), by_file(image))
    last = stopped_run / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    older = stylization.load(stopped_run)
    assert older.facts["steps"] == 2 and not torch.equal(older(image), by_run(image))


class Evil:
    def __reduce__(self) -> tuple:
        return (os.mkdir, ("executed",))


def test_hostile_checkpoints_are_told_in_one_line(
    stopped_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stopped_run)
    path = stopped_run / "checkpoints" / "last.ckpt"
    sound = torch.load(path, weights_only=True)
    name = next(iter(sound["state_dict"]))
    contents: list[Any] = [
        *(
            Evil(),
            {"state_dict": Evil()},
            [],
            {},
            {"state_dict": []},
            {"state_dict": {}},
            {"state_dict": {"generator.x": 1}},
        ),
        sound | {"global_step": "many"},
        sound | {"state_dict": sound["state_dict"] | {name: torch.full_like(sound["state_dict"][name], torch.nan)}},
        sound | {"state_dict": sound["state_dict"] | {name: torch.zeros(3)}},
        sound | {"state_dict": sound["state_dict"] | {"generator.more": torch.zeros(3)}},
    ]
    for content in contents:
        torch.save(content, path)
        with pytest.raises(SystemExit) as stopped:
            cli.main(["apply", "photo.jpg", "--model", str(path), "--output", "x.jpg"])
        errors = capsys.readouterr().err
        assert stopped.value.code == 2 and errors.count("\n") == 1 and "last.ckpt" in errors, errors
    assert not Path("executed").exists()
    Path("settings.json").unlink()
    torch.save(sound, path)
    with pytest.raises(InputError, match=r"settings\.json is not at"):
        stylization.load(path)
