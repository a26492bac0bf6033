"""Which run a folder belongs to, and whether a run may go on from a checkpoint with the settings given now."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stylization.errors import InputError, tell
from stylization.files import locked, remove_unfinished
from stylization.launch import leaves, rank

# Settings that say where and how a run is done, not what it computes. All others must stay the same on resume.
OPERATIONAL = (
    *("folder", "resume", "resume_anyway", "max_restarts", "logger.", "callbacks."),
    *("data.num_workers", "data.max_damaged_share", "data.source.cache_gb", "data.source.patience_s"),
    *("trainer.default_root_dir", "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy"),
    *("trainer.val_check_interval", "trainer.check_val_every_n_epoch", "trainer.log_every_n_steps"),
    *("trainer.num_sanity_val_steps", "trainer.enable_", "trainer.use_distributed_sampler", "trainer.deterministic"),
    *("trainer.profile", "trainer.compile"),
)
STEPS, SCHEDULE, ALGORITHM = "trainer.max_steps", "optimizer.schedule.", "optimizer.algorithm._target_"


@contextlib.contextmanager
def claimed(folder: Path, resume: str | None, restarted: bool) -> Iterator[None]:
    """Lock a run folder. Raises `InputError` if another process writes in it, or if it holds another run.

    A folder that holds a stopped run is accepted from a restart of it, or if `resume` is one of its checkpoints.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock", f"hydra.run.dir={folder}: another run is writing in it; choose another folder"):
        checkpoints = folder / "checkpoints"
        if (folder / "summary.json").exists():
            raise InputError(f"hydra.run.dir={folder}: holds a finished run; choose another folder")
        ours = restarted or (resume is not None and Path(resume).resolve().parent == checkpoints.resolve())
        if not ours and any(checkpoints.glob("*.ckpt")):
            raise InputError(
                f"hydra.run.dir={folder}: holds a stopped run; continue it with "
                f"resume={checkpoints / 'last.ckpt'}, or choose another folder"
            )
        remove_unfinished(checkpoints, "*.ckpt")
        yield


def differences(before: Mapping[str, Any], now: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that must stay the same within a run and do not: their earlier values, by their names.

    `before` and `now` are resolved settings, `written` those of now with interpolations as they are written. What
    follows from another setting by interpolation is left out, unless nothing else differs.
    """
    old, new = dict(leaves(before)), dict(leaves(now))
    found = {
        key: old.get(key)
        for key in sorted(old.keys() | new.keys(), key=lambda key: (key.count("."), key))
        if not key.startswith(OPERATIONAL) and old.get(key) != new.get(key)
    }
    if not any(key.startswith(SCHEDULE) for key in found):
        found.pop(STEPS, None)  # more or fewer steps of the same
    derived = tuple(key for key, value in leaves(written) if isinstance(value, str) and "${" in value)
    chosen = {key: value for key, value in found.items() if not f"{key}.".startswith(tuple(f"{k}." for k in derived))}
    return chosen or found


def check_same_settings(
    path: Path, before: Mapping[str, Any], now: Mapping[str, Any], written: Mapping[str, Any], anyway: bool
) -> bool:
    """Print how the settings differ from those recorded in the checkpoint at `path`, and raise `InputError` for it
    unless `anyway`. Return whether the optimizer and its schedule are to follow the new settings."""
    found, new = differences(before, now, written), dict(leaves(now))
    for key, value in found.items():
        stretched = "; the schedule is fitted to the new number of steps" if key == STEPS and anyway else ""
        if rank() == 0:
            tell(f"{key}={new.get(key)}: the checkpoint has {key}={value}{stretched}")
    if ALGORITHM in found:
        raise InputError(f"resume={path}: its optimizer is another; give the settings of its run")
    if found and not anyway:
        raise InputError(
            f"resume={path}: other settings than its run's ({', '.join(found)}); give the same, or insist with "
            "resume_anyway=true"
        )
    return any(key.startswith("optimizer.") or key == STEPS for key in found)


def check_same_run(folder: Path, now: Mapping[str, Any], written: Mapping[str, Any]) -> None:
    """Raise `InputError` if a folder without checkpoints holds what a run of other settings left."""
    path = folder / "settings.json"
    if not path.exists():
        return
    try:
        before = json.loads(path.read_text())
    except (OSError, ValueError):
        before = None
    if not isinstance(before, dict) or (found := differences(before, now, written)):
        named = f" ({', '.join(found)})" if isinstance(before, dict) else ""
        raise InputError(f"hydra.run.dir={folder}: holds a run of other settings{named}; choose another folder")
