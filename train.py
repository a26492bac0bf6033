"""Train a generator to repaint photographs in one style: `python train.py norm=instance style=mosaic`.

Composes the configuration, builds what it names, fits. PyTorch is imported only when training starts, so that
help, `--cfg job` and typos answer at once.
"""

import os
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig

from stylization.configuration import explained, plain, register_resolvers
from stylization.errors import InputError, clear_errors

if TYPE_CHECKING:
    from stylization.callbacks import Summary


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    runtime, one_run = HydraConfig.get().runtime, HydraConfig.get().mode == RunMode.RUN
    config.folder = os.path.relpath(runtime.output_dir)
    print(f"{config.folder}: loading PyTorch ...", file=sys.stderr, flush=True)
    with clear_errors() if one_run else nullcontext():  # one arm that fails must not end a sweep: Hydra goes on
        try:
            summary = train(config, dict(runtime.choices))
        except InputError:
            if not any(Path(config.folder).glob("checkpoints/*")):
                shutil.rmtree(config.folder, ignore_errors=True)  # nothing was trained: leave nothing like a run
            raise
        print(summary.told(), flush=True)


def train(config: DictConfig, choices: dict[str, str]) -> "Summary":
    """Build what the configuration names, fit it, and return the summary of the finished run."""
    import lightning.pytorch as pl

    from stylization import styles
    from stylization.memory import keep_memory
    from stylization.training import Training, quiet

    quiet()
    keep_memory()
    with explained():
        pl.seed_everything(config.seed, workers=True, verbose=False)
        generator = instantiate(config.generator)
        data = instantiate(config.data, _convert_="all")
        style = styles.read(config.style.image, config.style.size_px)
        loss_network = instantiate(config.loss_network)
        objective = instantiate(config.objective, loss_network=loss_network, style=style, _convert_="all")
        optimizer = instantiate(config.optimizer)
        callbacks = {name: instantiate(section) for name, section in config.callbacks.items()}
        loggers = [instantiate(section) for section in config.logger.values()]
        trainer = instantiate(config.trainer, callbacks=list(callbacks.values()), logger=loggers)
        if config.resume and not Path(config.resume).is_file():
            raise InputError(f"resume={config.resume}: no such checkpoint")
    callbacks["summary"].describe(plain(config), choices)
    for logger in trainer.loggers:
        logger.log_hyperparams(plain(config))
    module = Training(generator, objective, optimizer.algorithm, optimizer.schedule)
    trainer.fit(module, datamodule=data, ckpt_path=config.resume)
    summary: Summary = callbacks["summary"]
    return summary


if __name__ == "__main__":
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra hands its errors on, and we say them in one line
    register_resolvers()
    with clear_errors(), explained():
        main()
