"""A dump becomes readable prose; every expectation is written by hand."""

import bz2
import time

import pytest

from tamt_ray.data.mediawiki import articles, clean


def dump(*pages: str) -> bytes:
    body = "".join(pages)
    return f'<mediawiki xmlns="urn:export"><siteinfo/>{body}</mediawiki>'.encode()


def page(text: str, namespace: int = 0, extra: str = "") -> str:
    return (
        f"<page><title>T</title><ns>{namespace}</ns>{extra}"
        f"<revision><id>1</id><text>{text}</text></revision></page>"
    )


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("'''Bold''' and ''italic'' and '''''both'''''.", "Bold and italic and both."),
        ("A [[cat]] and [[dog|two dogs]].", "A cat and two dogs."),
        ("[[File:A.jpg|thumb|A [[cat|nice]] [http://x.y one] [2]]]Text.", "Text."),
        ("Text.[[Category:Things]][[de:Sache]]", "Text."),
        ("See [[:Category:Things|all]].", "See all."),
        ("Nested {{a|{{b|c}}|{{{d}}}}}templates.", "Nested templates."),
        ("One.\n{| class=x\n|-\n! h\n| a || {| \n| inner\n|}\n|}\nTwo.", "One.\nTwo."),
        ('Fact.<ref name="a">Source, {{cite|x}}</ref><ref name=b /> More.', "Fact. More."),
        ("Fact.<ref>Source</REF > More.<ref>unclosed", "Fact. More.unclosed"),
        ("A<!-- hidden\n -->B", "AB"),
        ("Sum <math>a_{b} < {{c}}</math>here.", "Sum here."),
        ("x<sub>2</sub> &amp; y&nbsp;z &mdash; w", "x2 & y z — w"),
        ("== Heading ==\nText.\n=== Sub ===\nMore.", "Text.\nMore."),
        ("Text.\n== See also ==\n* [[A]]\n=== Sub ===\nB\n== Next ==\nMore.", "Text.\nMore."),
        ("Text.\n== Notes and references ==\nOld books.", "Text."),
        ("Go to [http://x.y/z the page] or [http://x.y].", "Go to the page or."),
        ("* Short item\n* This item of the list has enough words to be prose.",
         "This item of the list has enough words to be prose."),
        ("It is {{convert|12|km|mi}} long.", "It is 12 km long."),
        ("In {{lang|fr|la vie}} and {{nowrap|a b}}.", "In la vie and a b."),
        ("Name ({{IPA|x}}; born 1900) ({{IPA|y}}) was.", "Name (born 1900) was."),
        ("__NOTOC__Text   with\t space .", "Text with space."),
        ("Broken {{template and [[link", "Broken template and link"),
        ("Broken }} and ]] too", "Broken and too"),
        ("First.\n\n\nSecond.", "First.\nSecond."),
        ("{{only|a template}}", ""),
    ],
)  # fmt: skip
def test_markup_becomes_prose(markup: str, expected: str) -> None:
    assert clean(markup) == expected


def test_only_articles_are_taken_in_the_order_of_the_dump() -> None:
    data = dump(
        page("First."),
        page("A discussion.", namespace=1),
        page("#REDIRECT [[First]]", extra='<redirect title="First" />'),
        page("It may mean {{disambiguation}}"),
        page("{{nothing}}"),
        page("Second &amp; last."),
    )
    assert articles(data) == ["First.", "Second & last."]
    assert articles(bz2.compress(data)) == ["First.", "Second & last."]


def test_the_last_revision_stays() -> None:
    revisions = "".join(f"<revision><text>{word}</text></revision>" for word in ("Old", "New"))
    assert articles(dump(f"<page><ns>0</ns>{revisions}</page>")) == ["New"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no xml",
        dump(page("x"))[:-5],
        bz2.compress(dump(page("x" * 10_000)))[:-5],
        b"BZh9 not bzip2",
        b"<html><body>x</body></html>",
    ],
)
def test_what_is_no_dump_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"XML|bzip2|MediaWiki"):
        articles(data)


def test_entities_are_never_expanded() -> None:
    laughs = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>' + dump(page("&b;"))
    with pytest.raises(ValueError, match="document type"):
        articles(laughs)


@pytest.mark.parametrize(
    "nasty",
    ["{{" * 50_000, "[[" * 50_000, "[[" * 50_000 + "]]" * 50_000, "[[a[" * 30_000, "<ref>" * 20_000,
     "<!--" * 20_000, "[//" + "a" * 100_000, "[" * 100_000, "=" * 100_000, "( ;" * 30_000],
)  # fmt: skip
def test_hostile_markup_takes_no_more_than_seconds(nasty: str) -> None:
    begin = time.monotonic()
    clean(nasty)
    assert time.monotonic() - begin < 5
