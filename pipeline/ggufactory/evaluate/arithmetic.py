"""How the models of an evaluation compute. Importing this does not import PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from ggufactory.errors import InputError

COMPUTE_DTYPES = ("float32", "bfloat16")
DEVICES = ("auto", "cpu", "cuda")
EXACT, AS_LLAMA_CPP = "f32", "as-llama.cpp"
ACTIVATIONS = (EXACT, AS_LLAMA_CPP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic:
    """InputError on construction for values that cannot be meant."""

    compute_dtype: str = "float32"
    device: str = "auto"
    """"auto": a GPU if there is one."""
    activations: str = EXACT
    """Of rungs: as they are, or rounded as llama.cpp's CPU does. The source's are always as they are."""

    def __post_init__(self) -> None:
        for name, value, known in (
            ("compute dtype", self.compute_dtype, COMPUTE_DTYPES),
            ("device", self.device, DEVICES),
            ("activations", self.activations, ACTIVATIONS),
        ):
            if value not in known:
                raise InputError(f"{name}: wanted one of {', '.join(known)}, found {value!r}")
        if self.activations == AS_LLAMA_CPP and self.compute_dtype != "float32":
            raise InputError(
                f"activations {AS_LLAMA_CPP}: computing in {self.compute_dtype} rounds them more than that",
                fix="Compute in float32",
            )
