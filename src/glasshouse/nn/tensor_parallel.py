"""How the transformer's matrices are split over processes, as data [Megatron-LM, arXiv 1909.08053, section 3].

Names and styles are those of a Hugging Face configuration's `base_model_tp_plan`: `colwise` splits a linear layer's
outputs, `rowwise` its inputs, and what follows a `rowwise` layer is summed. Each process so has whole heads and a part
of the gated hidden layer. `colwise_norm` is a norm whose features are split and whose mean is taken over all of them.

Embedding, head and the other norms are whole in every process. Deviation from Megatron: the head is not split over the
vocabulary. The loss is then the one every process computes on its own, in the same order of operations as without
tensor parallelism, at the price of a head product in each.
"""

from __future__ import annotations

from glasshouse.nn.configuration import TransformerConfig
from glasshouse.store.configuration import ConfigurationError

SPLITS = {
    "blocks.*.attention.query": "colwise",
    "blocks.*.attention.key": "colwise",
    "blocks.*.attention.value": "colwise",
    "blocks.*.attention.output": "rowwise",
    "blocks.*.feed_forward.gate": "colwise",
    "blocks.*.feed_forward.up": "colwise",
    "blocks.*.feed_forward.down": "rowwise",
}
QUERY_KEY_NORM_SPLITS = {
    "blocks.*.attention.query_norm": "colwise_norm",
    "blocks.*.attention.key_norm": "colwise_norm",
}


def splits(config: TransformerConfig, ways: int) -> dict[str, str]:
    """Module name (`*` is the layer) to style. Raises `ConfigurationError` when heads or features do not divide."""
    sizes = {"heads": config.heads, "key_value_heads": config.groups, "feed_forward": config.feed_forward}
    if uneven := [f"{name} {size}" for name, size in sizes.items() if size % ways]:
        raise ConfigurationError(
            f"the model cannot be split over {ways} processes: {' and '.join(uneven)} "
            f"{'is' if len(uneven) == 1 else 'are'} not a multiple of {ways}; choose a smaller `tensor`"
        )
    return SPLITS | (QUERY_KEY_NORM_SPLITS if config.query_key_norm else {})
