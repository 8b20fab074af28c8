"""What stands on a PDF page beside its own text: values of form fields and free-text annotations."""

import ctypes
import html
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from weightwright.rag.readers.pdf.glyphs import Box

_CHECKED, _UNCHECKED = "☑", "☐"
_NAMELESS = re.compile(r"(?i)on|off|\W*\d*\W*|choice\d+|\w?")  # names of a button's state that say nothing
_HIDDEN, _NO_VIEW = 1 << 1, 1 << 5  # ISO 32000-1, table 165
_PASSWORD, _PUSH_BUTTON = 1 << 13, 1 << 16  # ISO 32000-1, tables 226 and 228


@dataclass(frozen=True, slots=True)
class Inset:
    """A text and the box on the page that it fills; `field`: a form's value, which belongs to a line of the page."""

    text: str
    box: Box
    field: bool


def open_forms(document: Any) -> Any:
    """PDFium's form environment, or None for a document without a form. Values are read through it."""
    import pypdfium2.raw as pdfium

    if document.get_formtype() == pdfium.FORMTYPE_NONE:
        return None
    # of a form of the XFA kind the AcroForm fields are read; pypdfium2 warns that this is not all
    logging.getLogger("pypdfium2._helpers.document").setLevel(logging.ERROR)
    document.init_forms()
    return document.formenv


def insets(page: Any, forms: Any) -> list[Inset]:
    """The page's form values and free texts that a person sees, in the file's order."""
    import pypdfium2.raw as pdfium

    found: list[Inset] = []
    for i in range(pdfium.FPDFPage_GetAnnotCount(page)):
        annotation = pdfium.FPDFPage_GetAnnot(page, i)
        if not annotation:
            continue
        try:
            found += _inset(annotation, forms)
        finally:
            pdfium.FPDFPage_CloseAnnot(annotation)
    left, bottom, right, top = page.get_bbox()
    return [
        inset
        for inset in found
        if left < inset.box[2] and inset.box[0] < right and bottom < inset.box[3] and inset.box[1] < top
    ]


def draw(page: Any, forms: Any) -> bool:
    """Make what buttons, signatures and stamps show a part of the page; True where the page must be loaded again.

    All other annotations are taken off the page, so what they hold must have been read before.
    """
    import pypdfium2.raw as pdfium

    count = pdfium.FPDFPage_GetAnnotCount(page)
    drawn = [_is_drawn(page, i, forms) for i in range(count)]
    if not any(drawn):
        return False
    for i in reversed(range(count)):
        if not drawn[i]:
            pdfium.FPDFPage_RemoveAnnot(page, i)
    done: bool = pdfium.FPDFPage_Flatten(page, pdfium.FLAT_NORMALDISPLAY) == pdfium.FLATTEN_SUCCESS
    return done


def _is_drawn(page: Any, number: int, forms: Any) -> bool:
    """Whether an annotation is a button, a signature or a stamp that a person sees."""
    import pypdfium2.raw as pdfium

    annotation = pdfium.FPDFPage_GetAnnot(page, number)
    if not annotation:
        return False
    try:
        if pdfium.FPDFAnnot_GetFlags(annotation) & (_HIDDEN | _NO_VIEW):
            return False
        kind = pdfium.FPDFAnnot_GetSubtype(annotation)
        field = pdfium.FPDFAnnot_GetFormFieldType(forms, annotation) if forms else None
        buttons = (pdfium.FPDF_FORMFIELD_PUSHBUTTON, pdfium.FPDF_FORMFIELD_SIGNATURE)
        return kind == pdfium.FPDF_ANNOT_STAMP or (kind == pdfium.FPDF_ANNOT_WIDGET and field in buttons)
    finally:
        pdfium.FPDFPage_CloseAnnot(annotation)


def _inset(annotation: Any, forms: Any) -> Iterator[Inset]:
    import pypdfium2.raw as pdfium

    kind = pdfium.FPDFAnnot_GetSubtype(annotation)
    is_field = kind == pdfium.FPDF_ANNOT_WIDGET
    if kind != pdfium.FPDF_ANNOT_FREETEXT and not (is_field and forms):
        return
    if pdfium.FPDFAnnot_GetFlags(annotation) & (_HIDDEN | _NO_VIEW):
        return
    box = pdfium.FS_RECTF()
    if not pdfium.FPDFAnnot_GetRect(annotation, box):
        return
    if box.left == box.right or box.top == box.bottom:
        return
    text = _value(annotation, forms) if is_field else _note(annotation)
    lines = [" ".join(line.split()) for line in re.split(r"[\r\n]+", text)]
    shown = "\n".join(line for line in lines if line)
    if shown:
        left, right = sorted((box.left, box.right))
        bottom, top = sorted((box.bottom, box.top))
        yield Inset(shown, (left, bottom, right, top), is_field)


def _note(annotation: Any) -> str:
    """A free text's contents, or what its rich text says where it has none (ISO 32000-1, 12.7.3.4)."""
    plain = _string(annotation, b"Contents")
    return plain or html.unescape(
        re.sub(r"<[^>]*>", "", re.sub(r"</p>|<br\s*/?>", "\n", _string(annotation, b"RC")))
    )


def _value(annotation: Any, forms: Any) -> str:
    """What a person sees in a form's field: its text, its choices, whether it is ticked."""
    import pypdfium2.raw as pdfium

    kind = pdfium.FPDFAnnot_GetFormFieldType(forms, annotation)
    flags = pdfium.FPDFAnnot_GetFormFieldFlags(forms, annotation)
    if kind in (pdfium.FPDF_FORMFIELD_CHECKBOX, pdfium.FPDF_FORMFIELD_RADIOBUTTON):
        if not pdfium.FPDFAnnot_IsChecked(forms, annotation):
            return _UNCHECKED
        name = _text(pdfium.FPDFAnnot_GetFormFieldExportValue, forms, annotation)
        return _CHECKED if _NAMELESS.fullmatch(name) else f"{_CHECKED} {name}"
    if kind in (pdfium.FPDF_FORMFIELD_COMBOBOX, pdfium.FPDF_FORMFIELD_LISTBOX):
        return _choices(annotation, forms) or _text(pdfium.FPDFAnnot_GetFormFieldValue, forms, annotation)
    if kind == pdfium.FPDF_FORMFIELD_TEXTFIELD and not flags & _PASSWORD:
        return _text(pdfium.FPDFAnnot_GetFormFieldValue, forms, annotation)
    return ""


def _choices(annotation: Any, forms: Any) -> str:
    import pypdfium2.raw as pdfium

    count = pdfium.FPDFAnnot_GetOptionCount(forms, annotation)
    chosen = [i for i in range(count) if pdfium.FPDFAnnot_IsOptionSelected(forms, annotation, i)]
    return ", ".join(
        _text(lambda f, a, out, size, i=i: pdfium.FPDFAnnot_GetOptionLabel(f, a, i, out, size), forms, annotation)
        for i in chosen
    )  # fmt: skip


def _string(annotation: Any, key: bytes) -> str:
    import pypdfium2.raw as pdfium

    return _text(lambda a, out, size: pdfium.FPDFAnnot_GetStringValue(a, key, out, size), annotation)


def _text(function: Any, *arguments: Any) -> str:
    """What one of PDFium's functions writes as UTF-16 with a final NUL."""
    import pypdfium2.raw as pdfium

    size = function(*arguments, None, 0)
    if size <= 2:
        return ""
    buffer = ctypes.create_string_buffer(size)
    function(*arguments, ctypes.cast(buffer, ctypes.POINTER(pdfium.FPDF_WCHAR)), size)
    return buffer.raw[: size - 2].decode("utf-16-le", "replace").replace("\x00", "").strip()
