"""Converts unpacked documentation packages to plain text: plain_text.py UNPACKED OUTPUT PACKAGE...

Reads HTML, plain text, POD and dict files; the sources that HTML pages were made from are skipped. Each paragraph is kept once over all packages, so that text is not repeated.
"""
import gzip
import hashlib
import html.parser
import os
import re
import sys
import unicodedata

BLOCKS = {
    "address", "article", "aside", "blockquote", "body", "br", "caption", "center", "dd", "details", "dir", "div", "dl", "dt", "figcaption", "figure",
    "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "menu", "ol", "p", "pre", "section", "table", "tbody", "td", "tfoot",
    "th", "thead", "tr", "ul",
}
SKIPPED = {"script", "style", "head", "nav", "footer", "header", "form", "button", "select", "svg", "noscript", "template"}
VOID = {"br", "hr", "img", "input", "link", "meta", "area", "base", "col", "embed", "source", "track", "wbr"}
EXTENSIONS = (".html", ".htm", ".xhtml", ".txt", ".pod", ".dict")
SHORTEST_DOCUMENT = 200


class Text(html.parser.HTMLParser):
    """Collects the text of an HTML page. Lines of pre elements are kept."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.paragraphs, self.words, self.skipped, self.pre = [], [], [], 0

    def flush(self):
        text = "".join(self.words)
        self.words = []
        if self.pre:
            text = text.strip("\n")
        else:
            text = re.sub(r"\s+", " ", text).strip()
        if text.strip():
            self.paragraphs.append(text)

    def handle_starttag(self, tag, attributes):
        if self.skipped:
            if tag == self.skipped[-1]:
                self.skipped.append(tag)
            return
        if tag in SKIPPED:
            self.flush()
            self.skipped.append(tag)
        elif tag in BLOCKS and not (self.pre and tag == "br"):
            self.flush()
            self.pre += tag == "pre"
        elif tag == "br":
            self.words.append("\n")

    def handle_endtag(self, tag):
        if self.skipped:
            if tag == self.skipped[-1]:
                self.skipped.pop()
            return
        if tag in BLOCKS and tag not in VOID:
            self.flush()
            if tag == "pre":
                self.pre = max(0, self.pre - 1)

    def handle_data(self, data):
        if not self.skipped:
            self.words.append(data)


def from_html(text):
    parser = Text()
    parser.feed(text)
    parser.close()
    parser.flush()
    return parser.paragraphs


def from_pod(text):
    text = re.sub(r"(?ms)^=begin.*?^=end.*?$", "", text)
    text = re.sub(r"(?m)^=(head\d|item|over|back|encoding|pod|cut|for)\b *(.*)$", lambda m: m[2] if m[1].startswith(("head", "item")) else "", text)
    text = re.sub(r"X<[^<>]*>", "", text)
    for _ in range(3):
        text = re.sub(r"\b[BCFILSZ]<(?:<+ )?([^<>]*?)(?: >+)?>", r"\1", text)
    text = text.replace("E<lt>", "<").replace("E<gt>", ">")
    return re.split(r"\n[ \t]*\n", text)


def from_text(text):
    return re.split(r"\n[ \t]*\n", text)


def read(path):
    opened = gzip.open(path, "rb") if path.endswith((".gz", ".dz")) else open(path, "rb")
    with opened as file:
        return file.read().decode("utf-8", errors="ignore")


def kind(name):
    name = re.sub(r"\.(gz|dz)$", "", name)
    return next((extension for extension in EXTENSIONS if name.endswith(extension)), None)


def is_english(path):
    """False for translations, such as index.html.de and /fr/."""
    return not re.search(r"[./_-](de|fr|es|ja|ko|pt|pt-br|pt_BR|ru|tr|zh|zh-cn|zh-hans|zh_CN|zh_TW|da|it|pl|nl|ca|cs)(\.utf8|\.html)?(/|$)", path) \
        and "/translations/" not in path


def clean(paragraph):
    """Drops characters outside the usual scripts of English text, trailing blanks, and characters that readers do not see."""
    paragraph = unicodedata.normalize("NFC", paragraph).replace("\u00a0", " ").replace("\u00b6", "").replace("\r", "")
    paragraph = "".join(c for c in paragraph if c in "\n\t" or (c.isprintable() and ord(c) < 0x2600))
    return "\n".join(line.rstrip() for line in paragraph.expandtabs(8).strip("\n").split("\n"))


def paragraphs_of(path):
    text, what = read(path), kind(path)
    if what in (".html", ".htm", ".xhtml"):
        return from_html(text)
    return from_pod(text) if what == ".pod" else from_text(text)


def main():
    unpacked, output, packages = sys.argv[1], sys.argv[2], sys.argv[3:]
    os.makedirs(output, exist_ok=True)
    seen = set()
    total = 0
    for package in packages:
        paths = sorted(os.path.join(folder, name) for folder, _, names in os.walk(os.path.join(unpacked, package)) for name in names)
        documents = []
        for path in paths:
            within = os.path.relpath(path, os.path.join(unpacked, package))
            if os.path.islink(path) or "_sources" in within.split(os.sep) or not kind(path) or not is_english(within) or os.path.basename(path).startswith(("genindex", "changelog", "copyright", "NEWS")):
                continue
            kept = []
            for paragraph in map(clean, paragraphs_of(path)):
                key = hashlib.blake2b(re.sub(r"\W+", " ", paragraph).encode(), digest_size=12).digest()
                if paragraph.strip() and key not in seen:
                    seen.add(key)
                    kept.append(paragraph)
            document = "\n\n".join(kept)
            if len(document) >= SHORTEST_DOCUMENT:
                documents.append(document)
        text = "\n\n".join(documents) + "\n" if documents else ""
        with open(os.path.join(output, package + ".txt"), "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        total += len(text.encode())
        print(f"{package:26} {len(documents):6} documents {len(text.encode()) / 1e6:7.2f} MB")
    print(f"{'all':26} {total / 1e6:24.2f} MB")


if __name__ == "__main__":
    main()
