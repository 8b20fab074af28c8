"""The embedder that a folder's model takes."""

from pathlib import Path

from weightwright.ports import Embedder
from weightwright.rag.embedders.bert import read_bert
from weightwright.rag.embedders.own import BertEmbedder


def open_folder(folder: str | Path, *, device: str = "auto") -> Embedder:
    """The Embedder in a folder (or of a hub id). Raises ModelError where it cannot be loaded."""
    bert = read_bert(Path(folder))
    if bert is not None:
        return BertEmbedder(bert, folder, device)
    from weightwright.rag.embedders.sentence_transformer import SentenceTransformerEmbedder

    return SentenceTransformerEmbedder(folder, device=device)
