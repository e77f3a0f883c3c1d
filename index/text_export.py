"""The text side of a model is written beside an index: text_side.py describes and reads it."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from safetensors.numpy import save_file

from index.queries import Queries
from index.storage import TEXT_FACTS, Origin, text_name, write_text_facts
from index.text_side import FORMAT, GRAPH, OUTPUTS, WEIGHTS, TextSide
from mee.encode import encode_captions
from mee.errors import InputError

if TYPE_CHECKING:
    from index.postgres import Writer
    from mee.model import MEE

PROBES: Final = ("a dog", "The man's 2 dogs, running...", "ÜBER 雪 🎬 naïve\tx", "?!", "qzx " * 300)
CLOSE: Final = 2e-6  # largest difference of what the text side gives from what the model gives


def keep_text(writer: Writer, directory: Path, origin: Origin, model: MEE) -> str:
    """Write the model's text side beside the index, unless it is there; returns why that cannot be done."""
    try:
        with suppress(InputError):
            TextSide(directory / text_name(origin), model.layout, whole=True)
            return ""
        writer.put_text(lambda aside: write_text_side(aside, model, beside=directory))
    except InputError as error:
        return str(error)
    return ""


def write_text_side(folder: Path, model: MEE, beside: Path | None = None) -> None:
    """Export the text side of a model into an empty folder, and compare what it gives with what the model gives.

    ``beside``: an index; where a model of its had the same text side, that is taken.

    Raises:
        InputError: it cannot be exported, or gives something else.
    """
    from mee.export import export_text, text_digest  # here: it loads the exporter

    made_of = text_digest(model)
    for there in [] if beside is None else sorted(beside.glob("text-*")):
        with suppress(InputError):
            if (side := TextSide(there, model.layout, whole=True)).made_of == made_of:
                for path in side.files:
                    try:
                        (folder / path.name).hardlink_to(path)
                    except OSError:  # a file system without links
                        shutil.copyfile(path, folder / path.name)
                shutil.copyfile(there / TEXT_FACTS, folder / TEXT_FACTS)  # its time says when this one was made
                return
    device = model.device
    try:
        exported = export_text(model.cpu(), folder / GRAPH)
        wanted = Queries.of(encode_captions(model, PROBES))
    finally:
        model.to(device)
    save_file(dict(exported.weights), folder / WEIGHTS)
    for number, text in enumerate(exported.tokens):
        (folder / f"tokens-{number}.json").write_text(text, encoding="utf-8")
    facts = {"format": FORMAT, "nothing": exported.nothing, "prompts": exported.prompts, "made_of": made_of}
    write_text_facts(folder, facts)
    found = TextSide(folder, model.layout).encode(PROBES)
    for name in OUTPUTS:
        one, other = getattr(found, name), getattr(wanted, name)
        if not np.allclose(one, other, rtol=CLOSE, atol=CLOSE):
            raise InputError(f"the exported {name} differ from the model's by {np.abs(one - other).max():.2g}")
