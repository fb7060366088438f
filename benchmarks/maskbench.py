"""Whether the masks mean what the schemas mean: schemas of MaskBench with instances marked valid and invalid.

    python benchmarks/maskbench.py FOLDER [--each 60] [--output FILE]

FOLDER is `maskbench/data` of guidance-ai/jsonschemabench, which states no licence and so is no part of this project.
From each of three collections every n-th file in the order of names is taken. A schema is refused, or every valid
instance must be accepted as a whole and every invalid one must not. Masks have objects written in the order of
`properties`; MaskBench has put its instances into that order except where llguidance refuses the schema, so every
instance is tried as it stands and in that order, and counts as accepted when either is.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from turns import machine

from glasshouse.symbolic.call import Constraint
from glasshouse.symbolic.constrain import Vocabulary
from glasshouse.symbolic.errors import RefusalError

RESULTS = Path(__file__).parent / "results"
COLLECTIONS = ("Glaiveai2K", "Github_easy", "Github_medium")


def byte_vocabulary() -> Vocabulary:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    return Vocabulary(tokenizer, 257, 256)


def chosen(folder: Path, each: int) -> list[Path]:
    found = []
    for collection in COLLECTIONS:
        files = sorted(folder.glob(f"{collection}*.json"))
        found += files[:: max(1, len(files) // each)][:each]
    return found


def in_order(data, schema):
    """The instance with the keys of its objects in the order of `properties`, others after them as they stand."""
    if not isinstance(schema, dict):
        return data
    if isinstance(data, list):
        return [in_order(item, schema.get("items")) for item in data]
    if not isinstance(data, dict):
        return data
    cases = [schema, *schema.get("oneOf", ()), *schema.get("anyOf", ())]
    known = next((case["properties"] for case in cases if "properties" in case), {})
    names = [name for name in known if name in data] + [name for name in data if name not in known]
    return {name: in_order(data[name], known.get(name)) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--each", type=int, default=60)
    parser.add_argument("--output", type=Path, default=RESULTS / "maskbench.json")
    options = parser.parse_args()
    vocabulary, counts, wrong, refused = byte_vocabulary(), Counter[str](), list[str](), dict[str, str]()
    files = chosen(options.folder, options.each)
    for path in files:
        case = json.loads(path.read_text(encoding="utf-8"))
        try:
            compiled = vocabulary.compile(Constraint("json_schema", json.dumps(case["schema"])))
        except RefusalError as error:
            refused[path.stem] = f"{error}"[:200]
            continue
        for number, test in enumerate(case["tests"]):
            written = (test["data"], in_order(test["data"], case["schema"]))
            accepted = any(vocabulary.accepts(compiled, json.dumps(data, ensure_ascii=False)) for data in written)
            counts["instances"] += 1
            if accepted != test["valid"]:
                counts["false accepts" if accepted else "false rejects"] += 1
                wrong.append(f"{path.stem} {number}: {test.get('description', '')}"[:160])
    found = {
        "machine": machine(),
        "llguidance": version("llguidance"),
        "schemas": len(files),
        **{name: counts[name] for name in ("instances", "false accepts", "false rejects")},
        "wrong": wrong,
        "refused": refused,
    }
    print(json.dumps({name: value for name, value in found.items() if name != "machine"}, indent=1))
    options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
