"""Train a generator to repaint photographs in one style: `python train.py norm=instance style=mosaic`.

Composes the configuration, builds what it names, fits. PyTorch is imported only when training starts, so that
help, `--cfg job` and typos answer at once.
"""

import os
import shutil
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig

from stylization import launch, resuming
from stylization.configuration import (
    as_written,
    built_content,
    built_objective,
    built_trainer,
    check_settings,
    check_types,
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
    os.chdir(runtime.cwd)  # where hydra.job.chdir=true left for the run folder
    config.folder = os.path.relpath(runtime.output_dir)
    with clear_errors() if one_run else nullcontext():  # one arm that fails must not end a sweep: Hydra goes on
        try:
            with explained():
                if hydra_config.job.chdir:
                    raise InputError("hydra.job.chdir=true: paths are relative to the current folder; leave it out")
                check_settings(config)
                shares_folder = any(override.startswith("hydra.run.dir=") for override in hydra_config.overrides.hydra)
                num_ranks = launch.num_to_start(config.trainer, shares_folder)
                if num_ranks:
                    with resuming.claimed(Path(config.folder), config.resume, launch.restarted()):
                        pass  # its first rank claims it again
        except InputError:
            with suppress(OSError):
                Path(config.folder).rmdir()  # only if it is empty
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
        summary = train(config, dict(runtime.choices))
        print(summary.told(), end="", flush=True)


def discard(folder: Path) -> None:
    """Remove the folder of a run that never began, if nothing but what was written at its start is in it."""
    if folder.exists() and {path.name for path in folder.iterdir()} <= {".lock", "settings.json"}:
        shutil.rmtree(folder)


def train(config: DictConfig, choices: dict[str, str]) -> "Summary":
    """Claim the run folder, fit what the configuration names, and return the summary of the finished run."""
    folder = Path(config.folder)
    if launch.rank():
        return fit(config, choices)
    with resuming.claimed(folder, config.resume, launch.restarted()):
        try:
            return fit(config, choices)
        except InputError:
            discard(folder)
            raise


def fit(config: DictConfig, choices: dict[str, str]) -> "Summary":
    """Build what the configuration names, fit it, and return the summary of the finished run."""
    import lightning.pytorch as pl
    import torch

    from stylization import checkpoints, model_file
    from stylization.callbacks import Profile
    from stylization.memory import keep_memory
    from stylization.training import Training, quiet

    quiet()
    keep_memory()
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # it all is written
    launch.count_as_torchrun()
    last = Path(config.folder) / "checkpoints" / checkpoints.LAST
    if launch.restarted() and config.resume is None and any(last.parent.glob("*.ckpt")):
        config.resume = str(last)
    with explained():
        check_settings(config)
        check_types(config)
        pl.seed_everything(config.seed, workers=True, verbose=False)
        generator, before = built_generator(config)
        data = built_content(config)
        objective = built_objective(config)
        optimizer = instantiate(config.optimizer)
        callbacks = {name: instantiate(section) for name, section in config.callbacks.items()}
        loggers = [instantiate(section) for section in config.logger.values()]
        profile = Profile(config.folder) if config.trainer.profile else None
        parts = {"callbacks": list(callbacks.values()), "logger": loggers, "profiler": profile}
        trainer = built_trainer(config, **parts, plugins=[checkpoints.Checkpoints()])
        names, names_before = style_names(config), before.get("styles", [])
        module = Training(
            generator, objective, optimizer.algorithm, optimizer.schedule, config.seed, names, names_before
        )
        module.check(trainer.max_steps)
        module.settings = settings = plain(config)
        if config.resume is None:
            if launch.rank() == 0:  # for the others it may hold already what rank 0 has just written
                resuming.check_same_run(Path(config.folder), settings, as_written(config))
        else:
            path, saved = checkpoints.to_resume(Path(config.resume))
            config.resume = settings["resume"] = str(path)
            module.follows_settings = resuming.check_same_settings(
                path, saved["settings"], settings, as_written(config), config.resume_anyway
            )
            module.check_checkpoint(path, saved, trainer.max_steps)
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
