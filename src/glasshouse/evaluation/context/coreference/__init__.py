"""Coreference: which mention does a mention refer to?"""
