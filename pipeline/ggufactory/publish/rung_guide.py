"""For whom a rung is: a sentence for each file type, in the card's table."""

from __future__ import annotations

from ggufactory.plan.ladder import VARIANTS
from ggufactory.publish.entry import Entry

GUIDE = {
    "F32": "Single precision. For converting further, not for running.",
    "F16": "Half precision. For machines that compute in it and have the memory.",
    "BF16": "The weights as most models are published. The source for making other files.",
    "Q8_0": "Practically the same answers as the unquantized model, at about half its size.",
    "Q6_K": "Hard to tell from Q8_0. For those who have the memory and want no doubts.",
    "Q5_K_M": "Very close to the original. A good choice where Q6_K just does not fit.",
    "Q5_K_S": "As Q5_K_M, a little smaller, with a little less care for the sensitive tensors.",
    "Q5_0": "Older form of 5 bits; for programs that know no K-quants.",
    "Q5_1": "Older form of 5 bits, with an offset for each block; larger than Q5_0.",
    "Q4_K_M": "The usual choice: good answers at less than a third of the size of BF16.",
    "Q4_K_S": "As Q4_K_M, somewhat smaller and slightly less exact.",
    "Q4_0": "Older form of 4 bits; some processors, ARM among them, run it especially fast.",
    "Q4_1": "Older form of 4 bits, with an offset for each block; fast on some GPUs.",
    "IQ4_NL": "4 bits on a curved scale. Near Q4_K_S in size and quality; fast on ARM.",
    "IQ4_XS": "Close to Q4_K_S in quality, and smaller. Good where a few hundred megabytes decide.",
    "Q3_K_L": "The largest mix of 3 bits. Usable where memory is short; losses begin to show.",
    "Q3_K_M": "3 bits. Noticeably weaker than 4 bits.",
    "Q3_K_S": "The smallest mix of 3-bit K-quants; IQ3_XS or IQ3_M are usually better.",
    "IQ3_M": "3 bits from a codebook. About as good as Q3_K_L, and smaller.",
    "IQ3_S": "3 bits from a codebook throughout. Better than Q3_K_S of nearly the same size.",
    "IQ3_XS": "Somewhat below IQ3_S in size and quality.",
    "IQ3_XXS": "The smallest 3-bit file that still holds together.",
    "Q2_K": "Low quality. For seeing a large model run at all, without an importance matrix.",
    "Q2_K_S": "Smaller than Q2_K, and made with an importance matrix only.",
    "IQ2_M": "2 bits from a codebook, with the sensitive tensors kept higher. Surprisingly usable on large models.",
    "IQ2_S": "2 bits. For large models on small machines.",
    "IQ2_XS": "2 bits, smaller still. Expect mistakes.",
    "IQ2_XXS": "Hardly more than 2 bits. For the largest models only.",
    "IQ1_M": "Under 2 bits. A last resort.",
    "IQ1_S": "The least that can be stored. An experiment, rather than a tool.",
    "TQ1_0": "For models that were trained with ternary weights. Nothing else survives it.",
    "TQ2_0": "For models that were trained with ternary weights; larger and faster than TQ1_0.",
    "Q1_0": "For models that were trained with weights of one bit.",
    "Q2_0": "For models that were trained with weights of two bits.",
    "MXFP4_MOE": "Experts in MXFP4, the rest in Q8_0. For mixtures that were trained or published so.",
}
"""By llama-quantize's name of the file type."""

_EMBEDDINGS_KEPT = "As {base}, with embeddings and output at Q8_0: a little larger, a little more exact."
_OWN_MIX = "A mix of its own, based on {base}: see `options` in manifest.json."


def describe(entry: Entry) -> str:
    """One line of plain text, without a character that Markdown means something by."""
    rung, kind = entry["rung"], entry.get("file_type", entry["rung"])
    if rung in VARIANTS:
        return _EMBEDDINGS_KEPT.format(base=VARIANTS[rung].file_type.name)
    if kind not in GUIDE:
        return ""
    if rung != kind or entry.get("options"):
        return _OWN_MIX.format(base=kind)
    return GUIDE[kind]
