"""From a calibration text to the tokens that llama-imatrix would evaluate."""

from ggufactory.calibrate.text.corpus import Corpus, read_corpus
from ggufactory.calibrate.text.tokenizer import Tokenizer, tokenizer_of

__all__ = ["Corpus", "Tokenizer", "read_corpus", "tokenizer_of"]
