"""Reading is a stream: an input of 320 MB passes through a process that never grows by half of that."""

import json
import subprocess
import sys

import pytest

MEGABYTES = 320
MAKE = """
import sys, gzip, bz2
import pyarrow as pa, pyarrow.parquet as pq
path, megabytes = sys.argv[1], int(sys.argv[2])
words = " ".join(f"word{i * 7919 % 1000003}" for i in range(800))
def texts():
    for number in range(megabytes * 10**6 // len(words)):
        yield number, f"{number} {words}"
if path.endswith(".parquet"):
    rows = []
    with pq.ParquetWriter(path, pa.schema({"id": pa.string(), "text": pa.string()}), compression="zstd") as writer:
        for number, text in texts():
            rows.append({"id": str(number), "text": text})
            if len(rows) == 1000:
                writer.write_table(pa.Table.from_pylist(rows))
                rows = []
elif path.endswith(".xml"):
    with open(path, "w") as out:
        out.write("<mediawiki>")
        for number, text in texts():
            out.write(f"<page><ns>0</ns><id>{number}</id><revision><text>{text}</text></revision></page>\\n")
        out.write("</mediawiki>")
else:
    with gzip.open(path, "wt", compresslevel=1) as out:
        for number, text in texts():
            out.write(f'{{"id": "{number}", "text": "{text}"}}\\n')
"""
READ = """
import json, resource, sys
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources import json_lines, tables, wiki_dump
from glasshouse.data.sources.inputs import plan_inputs
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
quarantine, size, before = Quarantine(), 0, peak()
for shard in plan_inputs(sys.argv[1]):
    for batch in shard.batches(quarantine):
        size += batch.column("text").nbytes
print(json.dumps([size, quarantine.rows_quarantined, before, peak()]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.parquet", "x.xml"])
def test_a_large_input_streams(tmp_path, name):
    path = str(tmp_path / name)
    subprocess.run([sys.executable, "-c", MAKE, path, str(MEGABYTES)], check=True)
    done = subprocess.run([sys.executable, "-c", READ, path], check=True, capture_output=True, text=True)
    size, quarantined, before, after = json.loads(done.stdout)
    assert size >= 300e6
    assert quarantined == 0
    assert after - before < 160e6
