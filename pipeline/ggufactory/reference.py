"""The llama.cpp release whose bytes this one reproduces."""

LLAMA_CPP_COMMIT = "0c1e5709"
GGML_VERSION = "0.25.3"
