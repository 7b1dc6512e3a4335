"""ggufactory: one job turns a checkpoint into a ladder of GGUF files, byte-identical to llama.cpp."""

__version__ = "0.1.0"
