"""What we read: a Hugging Face folder of safetensors files, described by its headers alone."""

from ggufactory.checkpoint.checkpoint import Checkpoint, SourceTensor
from ggufactory.checkpoint.open import open_checkpoint

__all__ = ["Checkpoint", "SourceTensor", "open_checkpoint"]
