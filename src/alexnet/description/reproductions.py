"""The page of what `alexnet reproduce` keeps: a folder of experiments that share their trainings."""

from collections.abc import Sequence
from pathlib import Path

from alexnet.description.page import Description, describe_path
from alexnet.errors import ConfigError
from alexnet.files.writing import is_locked
from alexnet.reproduction.plan import FAILED, LOCK, PLAN, RESULT, RUNS, read_plan
from alexnet.text.commands import recall_command
from alexnet.text.wording import counted


def list_experiments(path: Path) -> list[Path]:
    """Return the folders of experiments that a folder is or holds."""
    return [each for each in (path, *sorted(path.iterdir())) if (each / PLAN).is_file()]


def describe_reproduction(path: Path, experiments: Sequence[Path]) -> Description:
    """Return how far each experiment is.

    Args:
        experiments: See `list_experiments`.
    Raises:
        ConfigError: what an experiment records is damaged.
    """
    facts = [("what", f"{counted(len(experiments), 'experiment')} of alexnet reproduce")]
    values = []
    for folder in experiments:
        try:
            title, trainings = read_plan(folder)
        except (OSError, ValueError, KeyError, TypeError):
            raise ConfigError(f"{folder / PLAN}: is damaged. Give the command of the experiment again.") from None
        runs = [folder.parent / RUNS / name for name in trainings]
        done = sum((run / RESULT).is_file() for run in runs)
        failed = sum(run.with_suffix(f".{FAILED}").is_file() for run in runs)
        at_work = sum(is_locked(run.with_suffix(LOCK)) for run in runs)
        words = [f"{done} of {counted(len(runs), 'training')} done"]
        words += [f"{number} {what}" for number, what in ((failed, "failed"), (at_work, "at work now")) if number]
        facts.append((folder.name, f"{title}: {', '.join(words)}"))
        if (folder / "results.csv").is_file():
            facts.append(("results", str(folder / "results.csv")))
        again = recall_command(folder)
        if again and not at_work:
            facts.append(("next" if done < len(runs) else "again", again))
        values.append({"experiment": folder.name, "trainings": len(runs), "done": done, "failed": failed})
    return describe_path(path, "reproduction", facts, experiments=values)
