"""Whole runs, of seconds: what they leave behind, that they repeat bit for bit, resume, and stop when they must."""

import csv
import errno
import json
import math
import os
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch.plugins import MixedPrecision
from omegaconf import open_dict
from PIL import Image
from safetensors.torch import load_file

import stylization
from stylization import cli
from stylization.callbacks import Summary
from stylization.callbacks.remote import artifact_name
from stylization.checkpoints import Checkpoints, first_not_finite, to_resume
from stylization.checkpoints import read as read_checkpoint
from stylization.configuration import CONF, register_resolvers
from stylization.errors import InputError
from train import discard, train

SMALL = (
    *(
        "generator.width=4",
        "generator.num_blocks=1",
        "data.size_px=32",
        "data.held_out_size_px=48",
        "data.batch_size=2",
    ),
    *("style.size_px=64", "trainer.max_steps=6", "trainer.val_check_interval=3", "trainer.log_every_n_steps=1"),
    *("callbacks.contact_sheet.every_n_steps=3", "callbacks.checkpoint.every_n_train_steps=3"),
    "callbacks.checkpoint.save_top_k=-1",
)


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def run(folder: Path, *overrides: str, small: Sequence[str] = SMALL) -> Summary:
    config = compose("config", [*small, *overrides])
    with open_dict(config):
        config.folder = str(folder)
    return train(
        config, {"norm": "instance", "generator": "johnson", "loss_network": "compact", "objective": "relative"}
    )


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        run(folder)
    return folder


def test_run_folder_holds_what_the_readme_says(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    for key in (
        "steps images seconds images_per_second seed norm statistics style generator loss_network parameters "
        "versions git val val_initial held_out"
    ).split():
        assert key in summary, key
    assert set(summary["val"]) == set(summary["val_initial"]) == {"content", "style", "tv", "total"}
    assert summary["val_initial"]["content"] == 0
    assert (summary["steps"], summary["images"]) == (6, 12)
    with Image.open(finished / "samples" / "step_000006.png") as sheet:
        assert sheet.size == (2 * 48 + 6, 3 * 48 + 2 * 6)
    assert {p.name for p in (finished / "samples").iterdir()} == {"step_000003.png", "step_000006.png"}
    assert [r["step"] for r in rows(finished) if r["train/total"]] == [str(n) for n in range(6)]
    assert [r["step"] for r in rows(finished) if r["val/total"]] == ["2", "5"]


def test_summary_agrees_with_the_last_validation_and_with_the_model_file(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    last = [r for r in rows(finished) if r["val/total"]][-1]
    assert float(last["val/total"]) == pytest.approx(summary["val"]["total"], rel=1e-5)
    stylizer = stylization.load(finished)
    assert stylizer.facts == summary
    image = torch.rand(1, 3, 33, 47)
    assert stylizer(image).shape == image.shape


def test_total_is_the_weighted_sum_of_the_terms(finished: Path) -> None:
    for row in rows(finished):
        prefix = "train" if row["train/total"] else "val"
        content, style, tv, total = (float(row[f"{prefix}/{term}"]) for term in ("content", "style", "tv", "total"))
        config = compose("config", ["folder=x"]).objective.weights
        expected = config.content * content + config.style * style + config.tv * tv
        assert total == pytest.approx(expected, rel=1e-5)


def test_same_seed_gives_the_same_metrics_bit_for_bit_and_another_seed_others(finished: Path, tmp_path: Path) -> None:
    run(tmp_path / "again")
    assert (tmp_path / "again" / "metrics.csv").read_bytes() == (finished / "metrics.csv").read_bytes()
    run(tmp_path / "other", "seed=1", "trainer.max_steps=1")
    assert rows(tmp_path / "other")[0]["train/total"] != rows(finished)[0]["train/total"]


def test_another_number_of_threads_changes_the_metrics_by_rounding_only(finished: Path, tmp_path: Path) -> None:
    torch.set_num_threads(2)
    try:
        run(tmp_path)
    finally:
        torch.set_num_threads(1)
    for number, (ours, theirs) in enumerate(zip(rows(tmp_path), rows(finished), strict=True)):
        for key in (key for key in ours if ours[key]):
            # Adam's first steps divide gradients by themselves and so amplify what rounding left of the small ones.
            assert float(ours[key]) == pytest.approx(float(theirs[key]), rel=5e-2 if number else 1e-5)


def test_wandb_offline_needs_no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run(tmp_path, "logger=wandb", "logger.wandb.offline=true", "trainer.max_steps=1")
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert (tmp_path / "metrics.csv").exists()


def test_resumed_run_ends_where_the_uninterrupted_one_does(finished: Path, tmp_path: Path) -> None:
    (checkpoint,) = (finished / "checkpoints").glob("*000003.ckpt")
    summary = run(tmp_path, f"resume='{checkpoint}'")
    whole, resumed = (load_file(folder / "model.safetensors") for folder in (finished, tmp_path))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert summary.facts["images"] == 12
    assert [r for r in rows(finished) if int(r["step"]) >= 3] == [
        {key: row.get(key, "") for key in rows(finished)[0]} for row in rows(tmp_path)
    ]


def test_checkpoint_holds_the_generator_alone_and_loads_with_weights_only(finished: Path) -> None:
    checkpoint = torch.load(finished / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(key.startswith("generator.") for key in checkpoint["state_dict"])
    assert checkpoint["Content"] == {"samples_seen": 12}


def test_non_finite_loss_stops_with_step_and_term_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"step \d+: (the \w+ term|the gradient) is not a finite number"):
        run(
            tmp_path,
            "optimizer=adam_constant",
            "optimizer.lr=1e36",
            "trainer.gradient_clip_val=null",
            "norm=none",
            "trainer.max_steps=20",
            "callbacks.checkpoint.every_n_train_steps=1",
        )
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.isfinite(value).all() for value in kept.values())
    assert not (tmp_path / "summary.json").exists()
    assert not (tmp_path / "model.safetensors").exists()


def test_a_step_whose_scaled_gradient_overflows_is_skipped_and_not_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = pl.Trainer.__init__

    def with_scaler(self: pl.Trainer, **options: Any) -> None:  # as precision=16-mixed does on GPUs
        scaler = torch.amp.GradScaler("cpu", init_scale=1e30, backoff_factor=1e-30)
        plugin = MixedPrecision("16-mixed", "cpu", scaler)
        init(self, **{name: value for name, value in options.items() if name != "precision"} | {"plugins": [plugin]})

    monkeypatch.setattr(pl.Trainer, "__init__", with_scaler)
    run(tmp_path)
    norms = [float(row["train/gradient_norm"]) for row in rows(tmp_path) if row["train/gradient_norm"]]
    assert not math.isfinite(norms[0]) and all(map(math.isfinite, norms[1:]))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("style.image=absent.jpg", "no such file"),
        ("style.image={tmp}/text.jpg", "not a picture"),
        ("style.image={tmp}/dot.png", "1x1"),
        ("loss_network.weights={tmp}/cut.safetensors", "damaged"),
        ("loss_network=vgg19 loss_network.weights={tmp}/cut.safetensors", "damaged"),
        ("objective.style_layers=[relu5_1]", "relu5_1"),
        ("objective.units=metres", "objective.units"),
        ("data=folder data.source.path={tmp}/absent", "no folder"),
        ("data=folder", "data.source.path"),
        ("data.size_px=8", "a whole number from 16"),
        ("trainer.max_steps=abc", "trainer"),
        ("generator.upsampling=cubic", "upsampling"),
        ("resume={tmp}/absent.ckpt", "absent.ckpt"),
        ("resume={tmp}/text.jpg", "corrupt or no checkpoint"),
        ("resume={finished} generator.width=8", "other settings than its run's (generator.width)"),
        ("resume={finished} generator.width=8 resume_anyway=true", "another generator"),
        ("resume={finished}", "6 of 6 steps"),
        ("norm.statistics=frozen", "norm.statistics"),
        ("norm._target_=torch.nn.InstanceNorm2d", "channels_per_group"),
        ("trainer.max_steps=0", "max_steps"),
        ("trainer.profile=true trainer.compile=true", "trainer.compile=true"),
        ("trainer.precision=bf16-true", "choose one of 32-true, bf16-mixed"),
        ("trainer.precision=16-mixed", "trainer.accelerator=cpu"),
        ("trainer.compile=maybe", "trainer.compile=maybe: not accepted; give true or false"),
        ("optimizer=adam_constant trainer.max_steps=10 optimizer.schedule.factor=7", "factor"),
        ("trainer.accelerator=gpu", "trainer"),
        ("optimizer.lr=-1", "optimizer"),
        ("seed=abc", "seed=abc"),
        ("style.size_px=abc", "style.size_px=abc"),
        ("data.batch_size=0", "batch_size=0"),
        ("data.held_out_size_px=4", "held_out_size_px"),
        ("generator.width=abc", "generator.width=abc: not accepted; give a whole number"),
        ("generator.width=2.5", "whole number"),
        ("~callbacks.summary", "callbacks.summary"),
    ],
)
def test_wrong_input_is_told_before_anything_is_trained(
    tmp_path: Path, finished: Path, override: str, told: str
) -> None:
    if "gpu" in override and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    (tmp_path / "text.jpg").write_text("no picture")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    (tmp_path / "cut.safetensors").write_bytes(b"\x40\0\0\0\0\0\0\0{")
    checkpoint = finished / "checkpoints" / "last.ckpt"
    with pytest.raises(InputError) as caught:
        run(tmp_path / "run", *override.format(tmp=tmp_path, finished=checkpoint).split())
    assert told in str(caught.value) and "\n" not in str(caught.value)
    assert not list((tmp_path / "run").rglob("*.c*")), "metrics.csv or a checkpoint"


def test_a_run_that_never_began_takes_only_its_own_files_with_it(tmp_path: Path) -> None:
    for name in ("settings.json", "precious.txt"):
        (tmp_path / name).write_text("x")
    discard(tmp_path)
    assert (tmp_path / "precious.txt").exists()
    (tmp_path / "precious.txt").unlink()
    discard(tmp_path)
    assert not tmp_path.exists()


def test_pyramid_resumes_with_the_noise_it_would_have_drawn(tmp_path: Path) -> None:
    overrides = [o for o in SMALL if "num_blocks" not in o]
    run(tmp_path / "whole", "generator=pyramid", small=overrides)
    (checkpoint,) = (tmp_path / "whole" / "checkpoints").glob("*000003.ckpt")
    run(tmp_path / "resumed", "generator=pyramid", f"resume='{checkpoint}'", small=overrides)
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_run_that_was_killed_before_its_summary_gets_it_by_resuming(tmp_path: Path) -> None:
    whole = run(tmp_path / "run").facts
    for name in ("summary.json", "model.safetensors"):
        (tmp_path / "run" / name).unlink()
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    again = run(tmp_path / "run", f"resume='{last}'").facts
    assert again["val"] == whole["val"] and again["images"] == whole["images"] == 12
    assert (tmp_path / "run" / "model.safetensors").exists()
    with pytest.raises(InputError, match="has done 6 of 6 steps already"):
        run(tmp_path / "other", f"resume='{last}'")


def test_apply_writes_a_picture_of_the_same_size(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    Image.effect_noise((51, 40), 80).convert("RGB").save(tmp_path / "photo.jpg")
    output = tmp_path / "new" / "painted.png"
    cli.main(["apply", str(tmp_path / "photo.jpg"), "--model", str(finished), "--output", str(output)])
    with Image.open(output) as painted:
        assert painted.size == (51, 40)
    assert capsys.readouterr().out.strip() == str(output)
    with pytest.raises(SystemExit) as caught:
        cli.main(["apply", str(tmp_path / "absent.jpg"), "--model", str(finished), "--output", str(output)])
    assert caught.value.code == 2
    assert "absent.jpg" in capsys.readouterr().err


def typed(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CONF.parent / "train.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=CONF.parent, check=False)


def test_on_the_command_line_wrong_input_is_one_line_status_2_and_no_folder(tmp_path: Path) -> None:
    result = typed("style.image=absent.jpg", f"hydra.run.dir={tmp_path}/run")
    assert result.returncode == 2
    (told,) = [line for line in result.stderr.splitlines() if "loading PyTorch" not in line]
    assert told.startswith("error: ") and "absent.jpg" in told
    assert not (tmp_path / "run").exists()

    (tmp_path / "file").write_text("a file where a folder should be")
    result = typed(f"hydra.run.dir={tmp_path}/file/run")
    assert result.returncode == 2
    assert result.stderr.startswith("error: cannot use") and result.stderr.count("\n") == 1


@pytest.mark.slow
def test_default_run_reaches_a_hundredth_of_the_style_distance(tmp_path: Path) -> None:
    result = typed(f"hydra.run.dir={tmp_path}/run")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("picture ")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["val"]["style"] <= 0.01 * summary["val_initial"]["style"]


def copied(finished: Path, tmp_path: Path) -> Path:
    """The checkpoints of the finished run in a folder of their own: those of a run that was stopped."""
    shutil.copytree(finished / "checkpoints", tmp_path / "run" / "checkpoints")
    return tmp_path / "run" / "checkpoints"


@pytest.mark.parametrize("damage", ["cut", "empty", "missing", "flipped", "nan"])
def test_unsound_last_checkpoint_is_replaced_by_the_newest_sound_one(
    damage: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(finished, tmp_path)
    last, content = folder / "last.ckpt", bytearray((folder / "last.ckpt").read_bytes())
    if damage == "nan":
        checkpoint = torch.load(last, weights_only=True)
        next(iter(checkpoint["state_dict"].values())).fill_(torch.nan)
        torch.save(checkpoint, last)
    elif damage == "missing":
        last.unlink()
    else:
        content[len(content) // 2] ^= 1
        last.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "flipped": content}[damage])
    path, checkpoint = to_resume(last)
    assert path != last and path.parent == folder and first_not_finite(checkpoint) is None
    assert f"continuing from {path.name}" in capsys.readouterr().err


def test_checkpoint_with_a_flipped_bit_is_rejected(finished: Path, tmp_path: Path) -> None:
    (path,) = copied(finished, tmp_path).glob("*000003.ckpt")
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if entry.file_size]
    for entry in entries:
        lengths = struct.unpack_from("<HH", content, entry.header_offset + 26)  # of name and padding
        content[entry.header_offset + 30 + sum(lengths) + entry.file_size // 2] ^= 4
        path.write_bytes(content)
        with pytest.raises(InputError, match="corrupt or no checkpoint; give another"):
            read_checkpoint(path)
        content[entry.header_offset + 30 + sum(lengths) + entry.file_size // 2] ^= 4


def test_failed_write_leaves_the_earlier_checkpoint(finished: Path, tmp_path: Path, monkeypatch: Any) -> None:
    last = copied(finished, tmp_path) / "last.ckpt"
    before = last.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        Checkpoints().save_checkpoint({"weights": torch.zeros(10)}, last)
    assert last.read_bytes() == before and {path.suffix for path in last.parent.iterdir()} == {".ckpt"}


@pytest.mark.parametrize("override", ["seed=1", "data.batch_size=4", "style.size_px=48", "optimizer.lr=0.5"])
def test_resuming_with_other_settings_names_them(
    override: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = copied(finished, tmp_path).glob("*000003.ckpt")
    key = override.split("=")[0]
    with pytest.raises(InputError, match=rf"other settings than its run's \({key}\).*resume_anyway=true"):
        run(tmp_path / "run", f"resume='{path}'", override)
    assert f"{override}: the checkpoint has {key}=" in capsys.readouterr().err


def test_folder_of_another_run_is_not_written_in(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds a finished run; choose another folder"):
        run(finished)
    folder = copied(finished, tmp_path).parent
    with pytest.raises(InputError, match="holds a stopped run; continue it with resume="):
        run(folder)
    (tmp_path / "busy").mkdir()
    with (tmp_path / "busy" / ".lock").open("a") as held:
        code = (
            "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
        )
        command = [sys.executable, "-c", code, held.name]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout and other.stdout.readline() == "\n"
            with pytest.raises(InputError, match="another run is writing in it"):
                run(tmp_path / "busy")
            other.communicate("\n")


@pytest.mark.parametrize("style", ["a+b+c", "Läufer & Co/..", "", "x" * 300, "a b\n"])
def test_names_of_artifacts_are_those_that_wandb_accepts(style: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", artifact_name(style, "instance"))
