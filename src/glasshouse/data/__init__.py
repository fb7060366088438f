"""Dolma (arXiv 2402.00159): from documents to signals, rules, de-duplication, mixing and token shards.

Read in the order of the data: `sources`, `signals`, `deduplication`, `curation`, `mixing`, `tokens`, then what looks
back at a corpus: `contamination`, `search` and `description`; `steps` are all of them as steps of the store. The unit
of work is one Arrow record batch of documents; every function is pure or writes plain files, and the modules are
imported one by one so that light ones stay light.
"""
