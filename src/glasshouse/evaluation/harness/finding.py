"""A task of lm-evaluation-harness by name or file, without reading all of its 14,000 YAML files.

The harness builds its index by parsing every file, which takes ten seconds and more. Here the folders that may hold a
task are found by the names and the text of files, and only these are indexed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any


class HarnessError(ValueError):
    """A task of lm-evaluation-harness cannot be opened here."""


def load_tasks(name: str) -> dict[str, Any]:
    """The harness's task objects by name: of a task, of a group, or of a YAML file.

    Data sets are those on this machine: the harness's own downloads are switched off in this process.

    Raises:
        ImportError: lm_eval is not installed.
        HarnessError: there is no such task, or its data are not here.
    """
    if find_spec("lm_eval") is None:
        raise ImportError("tasks of lm-evaluation-harness need it: pip install 'glasshouse[harness]'")
    _stay_offline()
    from lm_eval.tasks import TaskManager

    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise HarnessError(f"there is no file {path}")
        folders = [path.parent]
    elif not (folders := list(_folders(name))):
        raise HarnessError(f"lm-evaluation-harness has no task {name!r}: see `lm_eval ls tasks`, or give a YAML file")
    manager = TaskManager(include_defaults=False, include_path=[str(folder) for folder in folders])
    try:
        found: dict[str, Any] = manager.load([name])["tasks"]
    except (KeyError, OSError, ConnectionError, ValueError) as error:
        raise HarnessError(
            f"the task {name} cannot be opened ({type(error).__name__}: {error}). Nothing is downloaded: its data set "
            "has to lie in the local Hugging Face cache, or `dataset_path: json` with `data_files` in its YAML"
        ) from error
    return found


def _stay_offline() -> None:
    """For what is not imported yet by the environment, else by the constants that were read from it."""
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE"):
        os.environ[variable] = "1"
    import datasets
    import huggingface_hub.constants

    huggingface_hub.constants.HF_HUB_OFFLINE = True
    datasets.config.HF_HUB_OFFLINE = datasets.config.HF_DATASETS_OFFLINE = True


def _folders(name: str) -> Iterator[Path]:
    """Folders of the harness that define a name: told by a file's or folder's name, else by what the files say."""
    spec = find_spec("lm_eval")
    assert spec is not None and spec.submodule_search_locations  # noqa: S101, PT018  (checked by the caller)
    home = Path(spec.submodule_search_locations[0]) / "tasks"
    files = [Path(folder) / file for folder, _, names in os.walk(home) for file in names if file.endswith(".yaml")]
    said = re.compile(rf"^\s*-?\s*(task|group|tag):\s*['\"]?{re.escape(name)}['\"]?\s*$", re.M)

    def defines(file: Path) -> bool:
        return said.search(file.read_text(encoding="utf-8", errors="replace")) is not None

    likely = [file for file in files if name in (file.stem, file.parent.name) or file.stem == f"_{name}"]
    found = {file.parent for file in likely if defines(file)} or {file.parent for file in files if defines(file)}
    yield from sorted(found)
