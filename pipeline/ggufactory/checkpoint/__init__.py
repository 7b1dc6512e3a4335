"""What we read: a Hugging Face folder of safetensors files, or a GGUF file, described by its headers alone."""

from ggufactory.checkpoint.checkpoint import Checkpoint, SourceTensor
from ggufactory.checkpoint.gguf_checkpoint import GgufCheckpoint
from ggufactory.checkpoint.open import open_checkpoint, open_source

__all__ = ["Checkpoint", "GgufCheckpoint", "SourceTensor", "open_checkpoint", "open_source"]
