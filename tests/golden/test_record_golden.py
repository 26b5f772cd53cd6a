"""Run records as they stand on disk, byte for byte."""

from __future__ import annotations

from collections.abc import Callable

import records

from repro_env.record.runs import document

Golden = Callable[[str, str], None]


def test_a_record_with_something_in_every_field(golden: Golden) -> None:
    golden("record/full.json", document(records.WHOLE).decode())


def test_a_record_of_a_run_that_only_began(golden: Golden) -> None:
    golden("record/sparse.json", document(records.SPARSE).decode())
