"""Images whose label is doubtful by what the folds of a cross-validation predicted: found, ranked and listed."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from alexnet.data.store.reader import Store
from alexnet.errors import RunError
from alexnet.evaluation.confident_learning import Doubts, doubt_labels
from alexnet.evaluation.out_of_fold import OUT_OF_FOLD, OutOfFold, read_out_of_fold
from alexnet.files.writing import format_csv, write_text
from alexnet.text.names import escape_name

COLUMNS = ("path", "label", "suggested", "score")


@dataclass(frozen=True, slots=True)
class Suspects:
    """The doubtful labels of a store's training images."""

    store: Store
    told: OutOfFold
    doubts: Doubts
    numbers: tuple[int, ...]
    """The training images that are suspects, the most doubtful first."""

    @property
    def confusions(self) -> list[tuple[int, int, int]]:
        """Label, suggested class and number of suspects, of each pair that there is, the most frequent first."""
        pairs = Counter((int(self.doubts.labels[i]), int(self.doubts.suggested[i])) for i in self.numbers)
        return [(*pair, count) for pair, count in pairs.most_common()]

    def write(self, path: Path) -> None:
        """Write a line per suspect with COLUMNS; the score is the probability of the label."""
        names, doubts = list(map(escape_name, self.told.class_names)), self.doubts
        rows = [
            (
                escape_name(self.told.paths[i]),
                names[doubts.labels[i]],
                names[doubts.suggested[i]],
                f"{doubts.scores[i]:.6f}",
            )
            for i in self.numbers
        ]
        write_text(path, format_csv([COLUMNS, *rows]))


def find_suspects(folder: Path, store: Store) -> Suspects:
    """Return the doubtful labels by the out-of-fold probabilities in the folder of `train --folds`.

    Raises:
        RunError: there are none, they are damaged, or of another store.
    """
    told = read_out_of_fold(folder)
    if told.store_fingerprint != store.fingerprint:
        raise RunError(
            f"{folder / OUT_OF_FOLD}: tells of the images of another store than {store.path}. Give the store that the "
            "folds were trained on, or train on this one with train --folds."
        )
    doubts = doubt_labels(told.probabilities, told.labels)
    return Suspects(store, told, doubts, tuple(doubts.ranking[: int(doubts.is_suspect.sum())].tolist()))
