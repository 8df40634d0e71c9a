"""A BERT classifier small enough to make in a test: random weights, a real word-piece tokenizer, shuffled labels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

WORDS = "profit rose fell to from a year earlier sales loss the and of in shares company eur mn % . , 1 2 3 4 5 6 7 8 9 0".split()
LETTERS = [piece for letter in "abcdefghijklmnopqrstuvwxyz" for piece in (letter, f"##{letter}")]
SHUFFLED = {0: "neutral", 1: "positive", 2: "negative"}


@pytest.fixture(scope="session")
def tiny_finbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a tiny BERT classifier, shaped and saved as FinBERT is."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer  # noqa: PLC0415 - seconds to import

    folder = tmp_path_factory.mktemp("tiny_finbert")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *LETTERS]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(vocabulary)), encoding="utf-8")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        initializer_range=0.5,
        id2label=SHUFFLED,
        label2id={label: column for column, label in SHUFFLED.items()},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder
