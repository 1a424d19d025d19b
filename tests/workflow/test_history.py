"""``history.csv``: one line a fit or epoch, and nothing where there is no number."""

from __future__ import annotations

import csv
import io

from visum.learn.loop import Epoch
from visum.workflow import history
from visum.workflow.history import COLUMNS, Line


def test_epochs_are_told_from_the_beginning_of_their_rung() -> None:
    epochs = (Epoch(1, 2.0, 1.5, -0.75, 1e-3, 0.5), Epoch(2, 3.5, 1.25, -0.5, 1e-5))
    assert history.of_epochs(epochs, 10.0) == (
        Line(1, 12.0, None, 1e-3, 1.5, 0.75, 0.5),
        Line(2, 13.5, None, 1e-5, 1.25, 0.5, None),
    )


def test_the_csv_has_a_line_for_each_and_empty_cells() -> None:
    text = history.text(
        [("a,b", [Line(1, 0.25, l2=0.003, validation_loss=1 / 3)]), ("c", [Line(1, 9.0, train_loss=2.0)])]
    )
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == COLUMNS
    assert rows[0] == dict(zip(COLUMNS, ("a,b", "1", "0.250", "0.003", "", "", "0.333333", ""), strict=True))
    assert rows[1] == dict(zip(COLUMNS, ("c", "1", "9.000", "", "", "2.000000", "", ""), strict=True))
    assert history.text([]).strip() == ",".join(COLUMNS)
