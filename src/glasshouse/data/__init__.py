"""Dolma (arXiv 2402.00159): from documents to signals, rules, de-duplication, masking and token shards.

The unit of work is one Arrow record batch of documents; every function here is pure or writes plain files, and the
modules are imported one by one so that light ones stay light.
"""
