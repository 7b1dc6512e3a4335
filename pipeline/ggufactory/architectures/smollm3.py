"""SmolLM 3: Llama but for the layers without rotary positions, which llama.cpp knows.

Source: `SmolLM3Model` of llama.cpp's conversion/llama.py.
"""

from __future__ import annotations

from dataclasses import replace

from ggufactory.architectures import llama

SMOLLM3 = replace(llama.LLAMA, architecture="smollm3", classes=("SmolLM3ForCausalLM",))
