"""RoBERTa and XLM-RoBERTa: BERT, but positions begin behind the padding token's.

Source: `RobertaModel` and `XLMRobertaModel` of llama.cpp's conversion/bert.py.
"""

from __future__ import annotations

from dataclasses import replace

from ggufactory.architectures import bert
from ggufactory.architectures.configuration import Config, positive_integer
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.tokenizer.files import token_id


def settle(config: Config) -> Config:
    """The first positions are never used, and left out."""
    if config.get("pad_token_id") is None:
        return config
    offset = 1 + token_id(config["pad_token_id"], "config.json, pad_token_id")
    stored = positive_integer(config, "max_position_embeddings")
    return config | {bert.POSITION_OFFSET: offset, "max_position_embeddings": stored - offset}


def rename(name: str, config: Config) -> str | None:
    return bert.rename(name.removeprefix("roberta."), config)


ROBERTA = replace(
    bert.BERT,
    classes=("RobertaModel", "RobertaForSequenceClassification"),
    settle=settle,
    rename=rename,
    add_vocabulary=vocabularies.roberta,
)
XLM_ROBERTA = replace(
    ROBERTA,
    classes=("XLMRobertaModel", "XLMRobertaForSequenceClassification"),
    add_vocabulary=vocabularies.xlm_roberta,
    refused={"lora_adaptations": "its adapters are models of their own, which are not supported"},
)
