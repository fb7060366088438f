"""Finding evaluation data in a training corpus: exact n-grams, read-only indexes, a report for each set.

`evaluation_sets.read_evaluation_sets` -> `index.EvaluationIndex.build` -> `scanning.scan` (hits in a batch) or
`decontaminate.decontaminate` (files to a corpus and a report); `paragraphs.ParagraphIndex` is Dolma's own rule.
"""
