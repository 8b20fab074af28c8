"""What the glyphs of TeX's fonts mean where the file does not say it and PDFium takes their code for a character.

Then a prime reads as `0` and a bracket as `h`: false numbers and words. The tables are TeX's own encodings (The
TeXbook, appendix F): OML of cmmi, OMS of cmsy, OT1 of cmr and its kin. Big delimiters (cmex) and
unknown signs are left out.
"""

import re

_NAME = re.compile(
    r"(?:[A-Z]{6}\+)?(CMMI|CMMIB|CMSY|CMBSY|CMEX|CMR|CMBX|CMTI|CMSL|CMCSC|CMSS|CMTT|MSAM|MSBM)\w*$"
)
_GREEK = "ΓΔΘΛΞΠΣΥΦΨΩαβγδϵζηθικλμνξπρστυϕχψωεϑϖϱςφ"
_OML = dict(enumerate(_GREEK)) | {0x3A: ".", 0x3B: ",", 0x3C: "<", 0x3D: "/", 0x3E: ">", 0x40: "∂", 0x60: "ℓ"}
_OMS = dict(
    enumerate(
        "−·×∗÷⋄±∓⊕⊖⊗⊘⊙◯◦•≍≡⊆⊇≤≥≼≽∼≈⊂⊃≪≫≺≻←→↑↓↔↗↘≃⇐⇒⇑⇓⇔↖↙∝′∞∈∋△▽/↦∀∃¬∅ℜℑ⊤⊥ℵ"
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ∪∩⊎∧∨⊢⊣⌊⌋⌈⌉{}⟨⟩|∥↕⇕\\≀√∐∇∫⊔⊓⊑⊒§†‡¶♣♢♡♠"
    )
)
_OT1 = dict(enumerate("ΓΔΘΛΞΠΣΥΦΨΩ")) | {
    0x0B: "ff", 0x0C: "fi", 0x0D: "fl", 0x0E: "ffi", 0x0F: "ffl", 0x10: "ı", 0x11: "ȷ", 0x19: "ß", 0x1A: "æ",
    0x1B: "œ", 0x1C: "ø", 0x1D: "Æ", 0x1E: "Œ", 0x1F: "Ø", 0x5C: "“", 0x7B: "–", 0x7C: "—",
}  # fmt: skip
_TABLES = {"CMMI": _OML, "CMMIB": _OML, "CMSY": _OMS, "CMBSY": _OMS, "CMEX": {}, "MSAM": {}, "MSBM": {}}
_LETTERS_STAY = ("CMMI", "CMMIB", "MSBM")


def is_tex(font: str) -> bool:
    """Whether a font, by its name in the file, is one of these."""
    return _NAME.match(font) is not None


def meaning(font: str, code: int) -> str:
    """What a glyph that the file does not explain stands for; "" where nobody knows or nobody reads it."""
    match = _NAME.match(font)
    family = match[1] if match else ""
    if family in _TABLES:
        letter = chr(code) if chr(code).isalpha() and family in _LETTERS_STAY else ""
        return _TABLES[family].get(code, letter)
    return _OT1.get(code, chr(code) if code > 0x20 else "")
