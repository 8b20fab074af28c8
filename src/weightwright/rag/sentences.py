"""Sentences as character ranges, English, German, Chinese and Japanese, without a model."""

import re

Range = tuple[int, int]

# [1], 【1】, [1, 2], [1-3], [1 and 2], [source 1], 【1†source】, \[1\], as models write it
_CITED = (
    r"(?:(?i:source|sources|doc|document|passage|ref|reference|citation|cite|id(?=:))[\s:.#]{0,2}"
    r"|(?:来源|资料|文档|段落|引用)[\s:：]?)?\d{1,3}"
)
_LISTED = rf"{_CITED}(?:\s*(?:[,，、;&–-]|and|和)\s*{_CITED})*"
_MARK = r"(?:\\(?=\[[^\[\]\n]{1,40}\\\]))?[\[［【]\s*(%s)\s*(?:†[^\[\]【】\n]{0,20})?\\?[\]］】]"
MARK = re.compile(_MARK % _LISTED)
_MARKS = rf"(?:\s*{_MARK % ('?:' + _LISTED)})*"
_CLOSING = "[\"'”’»›)\\]}」』）】》〉〕｝｣＂]*"
_LATIN_CLOSING = "[\"'”’“‘»›)\\]}*_」』）】]*"  # “ closes what „ opens; *Yes.* in Markdown
_EAST = "\u3040-\u30ff\u3400-\u9fff"
_STOP = re.compile(
    rf"(?P<latin>[.!?]+)(?P<latin_closing>{_LATIN_CLOSING})(?P<latin_marks>{_MARKS})(?=\s|$|[{_EAST}])"
    rf"|[。！？｡．।॥؟۔]+…*(?P<closing>{_CLOSING}){_MARKS}"
    rf"|…+(?P<ellipsis>{_CLOSING}){_MARKS}(?=\s|$)"
    r"|(?P<line>\n)"
)
_LINE_START = re.compile(r"\s*(?:[-*+•·]\s|\d{1,3}[.)、]\s|#{1,6}\s|\||>|```|\n|$)")
_ABBREVIATED = """
mr mrs ms dr prof sr jr st vs etc e.g i.e cf al inc ltd co corp eq dept est gen gov rep sen col lt sgt capt approx
jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri u.s u.k u.n e.u d.c a.m p.m
ph.d m.d b.a m.a b.sc m.sc a.k.a ave blvd rd bros rev hon pres supt messrs mt ft viz ibid op cit ca c.v p.s r.i.p
no nos nr fig figs vol p pp ch sec art para abs kap bd abb tab s z hr fr hrn str tel bzw usw usf inkl exkl zzgl
ggf evtl max min vgl sog mio mrd std sek jh geb gest aufl hrsg verl bspw allg anm dipl ing abt bhf gmbh lfd entspr
"""
_ABBREVIATIONS = frozenset(_ABBREVIATED.split())
_BEFORE_A_NAME = """
mr mrs ms dr prof st vs e.g i.e cf eq gen gov rep sen capt rev hon messrs mt viz
hr hrn bzw inkl exkl zzgl ggf evtl vgl sog bspw tel geb ca dipl
"""
# what a noun may follow, and what ends a sentence only before a word that begins one
_BEFORE_A_NOUN_TEXT = """
u.s u.k u.n e.u mio mrd tsd fa med mwst std abt nat phil jur rer geb kgl hl ehem urspr
"""
_BEFORE_A_NOUN = frozenset(_BEFORE_A_NOUN_TEXT.split())
_NEVER_LAST = frozenset(_BEFORE_A_NAME.split())
_BEFORE_A_NUMBER_TEXT = """
no nos nr fig figs vol p pp ch sec art para abs kap bd abb tab s z
"""
_BEFORE_A_NUMBER = frozenset(_BEFORE_A_NUMBER_TEXT.split())
_WORD_BEFORE = re.compile(r"([^\W\d_](?:[^\W\d_]|\.(?=[^\W\d_]))*)$")
# abbreviations of letters apart: z. B., i. d. R., v. Chr.; a sentence may end with those of the second kind
_LETTERS_APART = re.compile(
    r"(?<!\w)(?:[zZ]\. ?B|d\. ?h|D\. ?h|[uU]\. ?a|o\. ?ä|i\. ?d\. ?R|v\. ?a|s\. ?[ou]|z\. ?T|u\. ?U"
    r"|m\. ?E|[vn]\. ?(?:Chr|u\. ?Z)"
    r"|i\. ?A|o\. ?g|u\. ?v\. ?m|i\. ?e|e\. ?g|u\. ?ä|z\. ?Z|i\. ?S|n\. ?J|d\. ?J|op\. ?cit|et ?al)\."
)
_GERMAN_ORDINAL = re.compile(
    r"(?:^|\W)(?:am|im|vom|zum|beim|zur|der|dem|den|des|das|bis|seit)\s+\d{1,2}$", re.IGNORECASE
)
_COUNTED_IN_GERMAN = re.compile(
    r"\s+(?:Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember"
    r"|Jahrhundert|Platz|Stock|"
    r"Etage|Klasse|Auflage|Kapitel|Geburtstag|Lebensjahr|Tag|Woche|Monat|Mal|Jh)\b"
)
# words whose letter is no initial: vitamin C. It helps.
_LETTERED_TEXT = """
vitamin plan hepatitis type grade class option section appendix group part answer point team building room hall
gate terminal zone schedule annex exhibit channel level unit phase step line model category block series version
route platform wing stage set vitamine
"""
_LETTERED = frozenset(_LETTERED_TEXT.split())
_STARTERS_TEXT = """
it its the this that these those he she they we you i in on at if when while a an as for but and or so there here
all both each most some many no not do does use see however then our his her their my your what who why how after
before since from with by to er sie es wir ich der die das ein eine im am wenn
"""
_STARTERS = frozenset(_STARTERS_TEXT.split())
_SAYS = (
    r"(?:said|asked|says|asks|replied|cried|shouted|answered|whispered|thought|wrote|called|explained|added"
    r"|sagte|fragte|rief|antwortete)\b"
)
_SPEAKER = re.compile(rf"\s*(?:[^\W\d_][\w.'’-]* ){{1,2}}{_SAYS}|\s*{_SAYS}")
_CHINESE_SPEAKER = re.compile(
    r"[\u4e00-\u9fff]{0,4}?(?:说|問|问|道|答|喊|叫|写道|寫道|回答|說)(?!明|题|題|路|案|法)"
)
_SHORT_LINE = 60  # a shorter line that the next one does not carry on stands for itself
_SHORT_CHINESE_LINE = 20


def sentences(text: str, start: int = 0, end: int | None = None) -> list[Range]:
    """Ranges (start, end) in `text[start:end]`, in order, without white space at their ends.

    Every character that is not white space lies in exactly one of them. A mark [n] after a full stop
    belongs to the sentence before it.
    """
    stop = len(text) if end is None else end
    ranges: list[Range] = []
    begin = start
    for match in _STOP.finditer(text, start, stop):
        if match.start() < begin:
            continue
        if match["line"]:
            if not _line_ends_sentence(text, begin, match.start(), stop):
                continue
        elif match["latin"]:
            if not _full_stop(text, match, stop):
                continue
        elif _is_carried_on(text, match, stop):
            continue
        _append(ranges, text, begin, match.end())
        begin = match.end()
    _append(ranges, text, begin, stop)
    return ranges


def _append(ranges: list[Range], text: str, start: int, end: int) -> None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        ranges.append((start, end))


def _is_carried_on(text: str, match: re.Match[str], stop: int) -> bool:
    """Whether what was quoted is carried on: 「はい。」と言った, “好吗？”她问."""
    following = text[match.end() : min(match.end() + 12, stop)]
    if match["ellipsis"] is not None:
        return following.lstrip()[:1].islower()
    if not match["closing"]:
        return False
    return "\u3041" <= following[:1] <= "\u309f" or bool(_CHINESE_SPEAKER.match(following))


def _full_stop(text: str, match: re.Match[str], stop: int) -> bool:
    """Whether a full stop ends a sentence (and is not an abbreviation's or an initial's)."""
    dot, after = match.start(), match.end()
    following = text[after : min(after + 60, stop)]
    if (
        following.lstrip()[:1].islower()
        and "\n\n" not in following[: len(following) - len(following.lstrip())]
    ):
        return False
    if match["latin"] != "." or match["latin_closing"] or match["latin_marks"]:
        return not (match["latin_closing"] and text[dot] in "!?" and _SPEAKER.match(following))
    following = following.lstrip()
    word = _WORD_BEFORE.search(text, max(0, dot - 12), dot)
    if _is_apart(text, dot):
        return not following
    if word is None:
        return not (_is_list_number(text, dot) or _is_german_ordinal(text, dot, after))
    if len(word[1]) == 1 and word[1].isupper():
        return not following or _is_no_initial(text, word.start(), following)
    return _ends_with(word[1].lower(), following)


def _ends_with(word: str, following: str) -> bool:
    """Whether a sentence ends with a word (small letters) and a dot; abbreviations may, or never do."""
    if word in _BEFORE_A_NUMBER:
        return not (following[:1].isdigit() or re.match(r"[IVXLC]+\b", following))
    if word in _NEVER_LAST:
        return not following
    if word in _BEFORE_A_NOUN:
        return not following or _begins_a_sentence(following)
    return word not in _ABBREVIATIONS or not following or following[0].isupper()


def _begins_a_sentence(following: str) -> bool:
    first = re.match(r"[\"'“‘(]*([^\W\d_]+)", following)
    return first is not None and first[1].lower() in _STARTERS and (len(first[1]) > 1 or first[1] in "IA")


def _is_apart(text: str, dot: int) -> bool:
    """Whether the dot belongs to an abbreviation of letters apart (z. B.)."""
    around = max(0, dot - 8)
    return any(
        around + found.start() <= dot < around + found.end()
        for found in _LETTERS_APART.finditer(text[around : dot + 8])
    )


def _is_german_ordinal(text: str, dot: int, after: int) -> bool:
    """Whether the dot makes a number an ordinal: am 3. Oktober, das 5. Kapitel."""
    if not re.search(r"(?<!\d)\d{1,2}$", text[max(0, dot - 3) : dot]):
        return False
    before = _GERMAN_ORDINAL.search(text, max(0, dot - 12), dot)
    return before is not None or _COUNTED_IN_GERMAN.match(text, after) is not None


def _is_no_initial(text: str, letter: int, following: str) -> bool:
    """Whether a capital and a dot end a sentence: 100 °C. Ice melts; plan B. It failed; not J. Smith."""
    if text[letter - 1 : letter] == "°":
        return True
    before = re.search(r"([^\W\d_]+)\s$", text[max(0, letter - 20) : letter])
    if before is not None and before[1].lower() in _LETTERED:
        return True
    return before is not None and _begins_a_sentence(following)


def _is_list_number(text: str, dot: int) -> bool:
    """Whether the dot follows a number that begins its line (`2. Unpack`)."""
    line = text.rfind("\n", 0, dot) + 1
    return text[line:dot].strip().isdigit()


def _line_ends_sentence(text: str, begin: int, newline: int, stop: int) -> bool:
    """Whether a line break parts two sentences: blank lines, lists, tables, headings, short lines."""
    line_start = max(begin, text.rfind("\n", 0, newline) + 1)
    line = text[line_start:newline].strip()
    if _LINE_START.match(text, newline + 1, min(newline + 80, stop)) or line.startswith(("#", "|", "```")):
        return True
    following = text[newline + 1 : newline + 2]
    if not line or line[-1] in ",;，、：—-" or following.islower():
        return False
    chinese = "\u3400" <= line[-1] <= "\u9fff"
    return len(line) < (_SHORT_CHINESE_LINE if chinese else _SHORT_LINE)
