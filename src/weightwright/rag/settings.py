"""Options of loading, chunking, retrieving, answering and citing; help stands beside each field."""

from typing import Literal

from pydantic import Field, model_validator

from weightwright.config import Settings
from weightwright.data.grounded import PromptSettings

Mode = Literal["dense", "terms", "hybrid"]


class LoadSettings(Settings):
    """How much of a file is read before it is refused."""

    max_file_mb: int = Field(
        64, ge=1, description="refuse a file larger than this; corpus.jsonl has no limit"
    )
    max_line_mb: int = Field(16, ge=1, description="refuse a line of a corpus.jsonl longer than this")
    max_pages: int = Field(10_000, ge=1, description="refuse a PDF with more pages")
    max_characters: int = Field(50_000_000, ge=1, description="refuse a document with more text")
    read_seconds: int = Field(300, ge=1, description="refuse a file that takes longer to read")
    read_memory_mb: int = Field(2000, ge=100, description="refuse a file that takes more memory to read")
    pdf_password: str = Field("", description="password of encrypted PDF files")
    ocr: bool = Field(False, description="recognise the text of scanned pages (needs the ocr extra)")
    max_unpacked_mb: int = Field(
        512, ge=1, description="unpack no more than this of one archive or office file"
    )
    max_members: int = Field(10_000, ge=1, description="refuse an archive or office file of more files")
    max_nesting: int = Field(3, ge=0, description="read no archives and mails that lie deeper in others")


class ChunkSettings(Settings):
    """How documents are cut."""

    chunk_tokens: int = Field(200, ge=8, description="tokens of a chunk with its heading, at most")
    overlap_tokens: int = Field(
        32, ge=0, description="tokens that a chunk repeats of the one before, at most"
    )

    @model_validator(mode="after")
    def _overlap_is_smaller(self) -> "ChunkSettings":
        if self.overlap_tokens * 2 > self.chunk_tokens:
            raise ValueError(
                f"overlap_tokens={self.overlap_tokens} must be at most half of "
                f"chunk_tokens={self.chunk_tokens}"
            )
        return self


class RetrieveSettings(Settings):
    """How chunks are found for a question."""

    mode: Mode = Field("hybrid", description="dense (vectors), terms (BM25) or hybrid (both, fused)")
    rrf_k: int = Field(60, ge=1, description="constant of reciprocal-rank fusion")
    candidates: int = Field(100, ge=1, description="hits that dense and terms each hand to the fusion")


class CiteSettings(Settings):
    """When a mark [n] counts as supported by its passage."""

    min_support: float = Field(
        0.6, ge=0, le=1, description="share of content words the cited range must hold"
    )
    add: bool = Field(
        True, description="add a mark to a sentence without one where a passage clearly supports it"
    )
    add_support: float = Field(0.8, ge=0, le=1, description="share of content words needed to add a mark")
    max_sentences: int = Field(3, ge=1, description="sentences in a row that may support a sentence together")


class AnswerSettings(Settings):
    """How a question is answered from a knowledge base."""

    k: int = Field(4, ge=1, description="chunks that the model is shown, at most")
    context_tokens: int = Field(1000, ge=16, description="tokens of all passages together, at most")
    max_tokens: int = Field(256, ge=1, description="new tokens of an answer, at most")
    temperature: float = Field(0.0, ge=0, description="0 is greedy")
    prompt: PromptSettings = PromptSettings()
    retrieve: RetrieveSettings = RetrieveSettings()
    cite: CiteSettings = CiteSettings()
