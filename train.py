"""Train a generator to repaint photographs in one style: `python train.py norm=instance style=mosaic`.

Composes the configuration, builds what it names, fits. PyTorch is imported only when training starts, so that
help, `--cfg job` and typos answer at once.
"""

import os
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig

from stylization import launch
from stylization.configuration import (
    built_content,
    built_objective,
    built_trainer,
    check_settings,
    explained,
    plain,
    register_resolvers,
    style_names,
    with_several_styles,
)
from stylization.errors import InputError, clear_errors, tell
from stylization.overrides import assigned

if TYPE_CHECKING:
    from stylization.callbacks import Summary


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    hydra_config = HydraConfig.get()
    runtime, one_run = hydra_config.runtime, hydra_config.mode == RunMode.RUN
    config.folder = os.path.relpath(runtime.output_dir)
    with clear_errors() if one_run else nullcontext():  # one arm that fails must not end a sweep: Hydra goes on
        with explained():
            shares_folder = any(override.startswith("hydra.run.dir=") for override in hydra_config.overrides.hydra)
            try:
                num_ranks = launch.num_to_start(config.trainer, shares_folder)
            except InputError:
                discard(Path(config.folder))
                raise
        if launch.rank() == 0:
            tell(f"{config.folder}: loading PyTorch ...")
        if num_ranks:
            arguments = [*hydra_config.overrides.task, assigned("hydra.run.dir", config.folder)]
            status = launch.run_ranks(num_ranks, arguments, config.max_restarts)
            if status and not one_run:
                raise InputError(f"{config.folder}: its ranks stopped with status {status}")
            if one_run:
                raise SystemExit(status)
            return
        try:
            summary = train(config, dict(runtime.choices))
        except InputError:
            if launch.rank() == 0:
                discard(Path(config.folder))
            raise
        print(summary.told(), end="", flush=True)


def discard(folder: Path) -> None:
    """Remove the folder of a run that never began, if nothing but what was written at its start is in it."""
    if folder.exists() and {path.name for path in folder.iterdir()} <= {".hydra", "settings.json"}:
        shutil.rmtree(folder)


def train(config: DictConfig, choices: dict[str, str]) -> "Summary":
    """Build what the configuration names, fit it, and return the summary of the finished run."""
    import lightning.pytorch as pl
    import torch

    from stylization import model_file
    from stylization.callbacks import Profile
    from stylization.memory import keep_memory
    from stylization.training import Training, quiet

    quiet()
    keep_memory()
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # it all is written
    launch.count_as_torchrun()
    last = Path(config.folder) / "checkpoints" / "last.ckpt"
    if launch.restarted() and config.resume is None and last.exists():
        config.resume = str(last)
    with explained():
        check_settings(config)
        pl.seed_everything(config.seed, workers=True, verbose=False)
        generator, before = built_generator(config)
        data = built_content(config)
        objective = built_objective(config)
        optimizer = instantiate(config.optimizer)
        callbacks = {name: instantiate(section) for name, section in config.callbacks.items()}
        loggers = [instantiate(section) for section in config.logger.values()]
        profile = Profile(config.folder) if config.trainer.profile else None
        trainer = built_trainer(config, callbacks=list(callbacks.values()), logger=loggers, profiler=profile)
        names, names_before = style_names(config), before.get("styles", [])
        module = Training(
            generator, objective, optimizer.algorithm, optimizer.schedule, config.seed, names, names_before
        )
        module.check(trainer.max_steps, config.resume)
        settings = plain(config)
        model_file.build(settings)  # what could not be rebuilt from its file is not worth training
    if "summary" not in callbacks:
        raise InputError("callbacks.summary writes the model: a run cannot be without it")
    callbacks["summary"].describe(settings, choices, before)
    for logger in trainer.loggers:
        logger.log_hyperparams(settings)
    if config.trainer.compile:
        module.compile_parts()
    if profile is not None:
        profile.attach(trainer, module)
    with launch.others_lost_told():
        trainer.fit(module, datamodule=data, ckpt_path=config.resume)
    summary: Summary = callbacks["summary"]
    if not summary.facts:  # resumed from a checkpoint of its last step, which needs no training, only its summary
        summary.finish(trainer, module)
    return summary


def built_generator(config: DictConfig) -> tuple[Any, dict[str, Any]]:
    """The generator that is to learn, and the facts of the model that it is taken from, if there is one: then what the
    configuration says of generator and norm gives way to what the model's file says."""
    from stylization import model_file

    if config.model is None:
        return instantiate(config.generator), {}
    names, path = style_names(config), model_file.located(config.model)
    generator, architecture, before = model_file.with_more_styles(path, len(names))
    if known := sorted(set(names) & set(before["styles"])):
        raise InputError(f"model={config.model} has the style {known[0]} already: rename the picture")
    config.generator, config.norm = architecture["generator"], architecture["norm"]
    return generator, before


if __name__ == "__main__":
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra hands its errors on, and we say them in one line
    register_resolvers()
    sys.argv = with_several_styles(sys.argv)
    with clear_errors(), explained():
        main()
