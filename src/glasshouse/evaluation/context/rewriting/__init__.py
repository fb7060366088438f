"""Query rewriting: the last query of a conversation, said so that it can be understood alone."""
