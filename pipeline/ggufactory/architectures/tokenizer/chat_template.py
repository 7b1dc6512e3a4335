"""Chat templates: from tokenizer_config.json, else from the files that newer checkpoints keep them in.

Source: `SpecialVocab` of gguf-py's vocab.py, `add_chat_template` of its gguf_writer.py. Where there are
several, the reference lists their names in no particular order; here it is the order of the files.
"""

from __future__ import annotations

from string import ascii_letters, digits

from ggufactory.architectures.key_values import KeyValues
from ggufactory.architectures.tokenizer.files import TokenizerFiles
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

KEY = "tokenizer.chat_template"
TEMPLATE_FILE = "chat_template.jinja"
MORE_TEMPLATES = "additional_chat_templates/"
MAX_TEMPLATE_BYTES = 4 << 20
MAX_TEMPLATES = 100


def add_chat_template(out: KeyValues, files: TokenizerFiles) -> None:
    """InputError where a template is no text. Nothing is written without a tokenizer_config.json."""
    config = files.tokenizer_config
    if not config:
        return
    found = config["chat_template"] if "chat_template" in config else _from_files(files.checkpoint)
    if isinstance(found, str):
        out.text(KEY, found)
    elif isinstance(found, list):
        _add_named(out, found)


def _add_named(out: KeyValues, choices: list[object]) -> None:
    """A template each, with its name; the one called "default" is the model's."""
    default = None
    names: dict[str, None] = {}
    for choice in choices:
        if not isinstance(choice, dict) or not isinstance(choice.get("name", ""), str):
            raise InputError(f"tokenizer_config.json: chat_template holds {clip(choice)}, wanted a named template")
        name = "".join(c if c in ascii_letters + digits else "_" for c in choice.get("name", ""))
        template = choice.get("template")
        if not name or template is None:
            continue
        if name == "default":
            default = template
        else:
            names[name] = None
            out.text(f"{KEY}.{name}", template)
    out.texts("tokenizer.chat_templates", list(names))
    if default is not None:
        out.text(KEY, default)


def _from_files(checkpoint: Checkpoint) -> object:
    if TEMPLATE_FILE in checkpoint.files:
        template = _text(checkpoint.read_file(TEMPLATE_FILE, limit=MAX_TEMPLATE_BYTES), TEMPLATE_FILE)
        more = [i.name for i in checkpoint.store.list(MORE_TEMPLATES) if _is_template(i.name)]
        if len(more) > MAX_TEMPLATES:
            raise InputError(f"{MORE_TEMPLATES} holds {len(more):,} templates, at most {MAX_TEMPLATES}")
        if not more:
            return template
        return [{"name": "default", "template": template}, *(_named(checkpoint, name) for name in more)]
    old = checkpoint.read_json("chat_template.json")
    return old.get("chat_template") if old else None


def _is_template(name: str) -> bool:
    rest = name.removeprefix(MORE_TEMPLATES)
    return rest.endswith(".jinja") and "/" not in rest


def _named(checkpoint: Checkpoint, name: str) -> dict[str, str]:
    found = checkpoint.store.read(name, limit=MAX_TEMPLATE_BYTES)
    stem = name.removeprefix(MORE_TEMPLATES).removesuffix(".jinja")
    return {"name": stem, "template": _text(found[0] if found else None, name)}


def _text(data: bytes | None, name: str) -> str:
    if data is None:
        raise InputError(f"{name} was removed while it was being read")
    try:
        # Read as text by the reference, which makes every line end a plain one.
        return data.decode().replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text: {error}") from None
