"""Where the data sets of the benchmark come from and under which licence: what a missing folder is answered with.

Nothing is downloaded. A reader is given a folder; when that is not there, the error says where to get it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class DataError(ValueError):
    """Data is not where it was looked for, cannot be read, or does not have its form."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set.

    Attributes:
        title: what it is.
        licence: under which it may be used.
        origin: where it is to be had, as repository and path or the name of the publisher.
        holds: the files that a folder of it has.
        open: whether anybody may have it.
    """

    title: str
    licence: str
    origin: str
    holds: str
    open: bool = True


SOURCES = {
    "winograd": Source(
        "Winograd schemas in six languages (WSC273 are the English ones)",
        "Apache-2.0, the schemas under the licences of their sources",
        "GitHub yandex-research/crosslingual_winograd, dataset.tsv",
        "crosslingual.tsv or dataset.tsv",
    ),
    "ontogum": Source(
        "OntoGUM: coreference after the rules of OntoNotes",
        "annotations CC BY 4.0; texts by genre, some CC BY-NC-SA",
        "GitHub amir-zeldes/gum, folder coref/ontogum/conll, with splits.md as SPLITS.md",
        "*.conll and SPLITS.md",
    ),
    "ontonotes": Source(
        "OntoNotes 5.0 in the form of CoNLL-2012",
        "LDC user agreement (not free)",
        "Linguistic Data Consortium, LDC2013T19, converted with the CoNLL-2012 scripts",
        "files *_conll, in folders",
        open=False,
    ),
    "gdtb": Source(
        "GDTB: discourse relations of GUM after the rules of PDTB-3",
        "annotations CC BY 4.0; texts by genre, some CC BY-NC-SA",
        "GitHub amir-zeldes/gum, folder rst/gdtb/disrpt, or disrpt/sharedtask2025",
        "*.rels",
    ),
    "pdtb": Source(
        "Penn Discourse Treebank 3.0",
        "LDC user agreement (not free)",
        "Linguistic Data Consortium, LDC2019T05",
        "folders gold and raw, each with sections 00 to 24",
        open=False,
    ),
    "sgd": Source(
        "Schema-Guided Dialogue",
        "CC BY-SA 4.0",
        "GitHub google-research-datasets/dstc8-schema-guided-dialogue, a folder such as dev",
        "dialogues_*.json and schema.json",
    ),
    "multiwoz": Source(
        "MultiWOZ 2.2",
        "MIT",
        "GitHub budzianowski/multiwoz, data/MultiWOZ_2.2",
        "schema.json and dialogues_*.json, in folders train, dev and test",
    ),
    "gecor": Source(
        "GECOR: CamRest676 with ellipsis and coreference annotated",
        "CC BY 4.0",
        "GitHub terryqj0107/GECOR, CamRest676_for_coreference_and_ellipsis_resolution",
        "CamRest676_annotated.json",
    ),
    "canard": Source(
        "CANARD: questions of QuAC in context, rewritten",
        "CC BY-SA 4.0",
        "GitHub aagohary/canard, data/release",
        "dev.json (or train.json, test.json)",
    ),
    "cqr_kvret": Source(
        "CQR on KVRET (InCar): queries to a car's assistant, reformulated",
        "MIT-0",
        "GitHub alexa/alexa-dataset-contextual-query-rewrite, cqr_kvret_dev_public.json and cqr_kvret_test_public.json",
        "test.json and dev.json",
    ),
    "mudoco_qr": Source(
        "MuDoCo-QR: rewritten turns of MuDoCo",
        "Apple's sample licence; MuDoCo itself CC BY-NC 4.0",
        "GitHub apple/ml-cread, MuDoCo-QR-dataset",
        "one JSON file per domain (mudoco_news.json or news.json, ...)",
    ),
    "qrecc": Source(
        "QReCC: questions in conversation, rewritten",
        "CC BY-SA 3.0",
        "GitHub apple/ml-qrecc, dataset/qrecc_data.zip, unpacked",
        "qrecc_test.json (or qrecc_train.json)",
    ),
}


def missing(name: str, looked: str | Path) -> DataError:
    """What is said when a data set is not in `looked`."""
    source = SOURCES[name]
    how = "It is open: get it from" if source.open else "It is not free: get it from the"
    return DataError(
        f"{source.title} is not in {looked}. A folder of it holds {source.holds}. {how} {source.origin}. "
        f"Licence: {source.licence}. Nothing is downloaded for you."
    )


def require_folder(name: str, folder: str | Path) -> Path:
    """The folder of a data set. Raises `DataError` with origin and licence when it is not there."""
    home = Path(folder)
    if not home.is_dir():
        raise missing(name, home)
    return home


def find_files(name: str, folder: str | Path, *patterns: str) -> list[Path]:
    """The files of a data set, in the order of their names, of the first pattern that has any.

    Raises `DataError` with origin and licence when there are none.
    """
    home = require_folder(name, folder)
    for pattern in patterns:
        if found := sorted(path for path in home.glob(pattern) if path.is_file()):
            return found
    raise missing(name, home)


def hash_items(*parts: Sequence[Any]) -> str:
    """SHA-256 of what was read: of every field of every item, in order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)} items".encode())
        for item in part:
            digest.update(json.dumps(dataclasses.asdict(item), sort_keys=True, default=sorted).encode())
    return digest.hexdigest()


def hash_settings(task: Any, *items: str) -> str:
    """SHA-256 of the fields of a task other than its items and prompt: shots, form, seed and the like."""
    left_out = {*items, "name", "prompt"}
    found = {one.name: getattr(task, one.name) for one in dataclasses.fields(task) if one.name not in left_out}
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
