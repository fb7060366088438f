"""The context benchmark: coreference, dialogue state tracking, implicit discourse relations, query rewriting."""
