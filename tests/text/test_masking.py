"""Secrets in texts: found as they are and as usual notations write them, and nowhere else."""

import html
import json
from urllib.parse import quote, quote_plus
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

import pytest
from django.utils.encoding import iri_to_uri
from hypothesis import given
from hypothesis import strategies as st

from qorworker.text.masking import MASK, NOTHING, SHORTEST, Mask

any_text = st.text(st.characters(), max_size=50)
a_secret = st.text(st.characters(exclude_characters="•", exclude_categories=["Cs"]), min_size=SHORTEST, max_size=20)
NOTATIONS = {
    "str": str,
    "repr": repr,
    "ascii": ascii,
    "ASCII with escapes": lambda text: text.encode("ascii", "backslashreplace").decode(),
    "repr of a list": lambda text: repr([f'it\'s "{text}"']),
    "ascii of a list": lambda text: ascii([f'it\'s "{text}"']),
    "bytes": lambda text: repr(text.encode()),
    "JSON": json.dumps,
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False),
    "HTML": html.escape,
    "XML": escape,
    "attribute in XML": lambda text: escape(text, {'"': "&quot;"}),
    "attribute with blanks in XML": quoteattr,
    "attribute of an element in XML": lambda text: ElementTree.tostring(ElementTree.Element("a", b=text)).decode(),
    "XML in ASCII": lambda text: escape(text).encode("ascii", "xmlcharrefreplace").decode(),
    "Jinja": lambda text: escape(text, {'"': "&#34;", "'": "&#39;"}),
    "URL": lambda text: quote(text, safe=""),
    "path": quote,
    "query": quote_plus,
    "Django's URL": iri_to_uri,
}


@given(any_text, any_text, a_secret)
def test_a_masked_text_does_not_contain_the_secret(before, after, secret):
    assert secret not in Mask([secret])(before + secret + after).replace(MASK, "\0\0") or "\0" in secret


@pytest.mark.parametrize("notation", NOTATIONS)
@given(secret=a_secret)
def test_it_is_found_in_every_usual_notation(notation, secret):
    text = NOTATIONS[notation](secret)
    assert MASK in Mask([secret])(text)


@pytest.mark.parametrize("notation", NOTATIONS)
def test_no_part_of_it_is_left_in_a_usual_notation(notation):
    secret = "s3cr\\3t \"quotes' <and>\t/sl\u00e4sh/ \u2028 100%"
    left = Mask([secret])(NOTATIONS[notation](secret))
    assert not [part for part in ("s3cr", "quotes", "and", "100") if part in left]


@pytest.mark.parametrize("write", [repr, ascii, lambda text: repr(text.encode())])
def test_quotes_around_it_do_not_hide_it(write):
    assert Mask(["l'\u00e9t\u00e9"])(write('{"password": "l\'\u00e9t\u00e9"}')).count(MASK) == 1


def test_the_longer_of_two_secrets_is_masked_whole():
    assert Mask(["abcdef", "abc"])("key: abcdef") == f"key: {MASK}"
    assert NOTHING("nothing") == "nothing"


def test_each_line_of_it_and_what_is_left_without_blanks_is_masked():
    mask = Mask(["  first line\nsecond line  "])
    assert mask("first line, second line") == f"{MASK}, {MASK}"
    assert mask("first line second line") == MASK


def test_what_is_very_short_would_blot_out_ordinary_text():
    assert Mask(["ab", "x\ny\nz"])("ab x, y, z") == "ab x, y, z"


def test_another_change_is_beyond_it():
    assert Mask(["secret"])("SECRET terces") == "SECRET terces"


def test_masked_json_stays_json_and_has_texts_and_whole_numbers_masked():
    told = {"key": ['say "1234"', 1234, 12345, 0.5, {"1234": None}], "true": True, "short": 12}
    masked = {"key": [f'say "{MASK}"', MASK, 12345, MASK, {MASK: None}], "true": True, "short": 12}
    assert json.loads(Mask(["1234", "0.5", "12"]).in_json(json.dumps(told))) == masked
    assert NOTHING.in_json("5") == "5"


def test_json_that_is_too_deep_is_refused():
    deep = "[" * 100_000 + "]" * 100_000
    with pytest.raises(ValueError, match="too deep"):
        Mask(["1234"]).in_json(deep)


def test_masks_together_know_the_secrets_of_each_without_making_their_forms_again(monkeypatch):
    one, other = Mask(["opensesame"]), Mask(["opensesame and more"])
    monkeypatch.setattr("qorworker.text.masking._forms", None)
    both = Mask.together([one, NOTHING, other])
    assert both("opensesame and more, opensesame") == f"{MASK}, {MASK}"
    assert both.in_bytes(b"opensesame and more") == MASK.encode()
    assert both.secrets == one.secrets | other.secrets
    assert Mask.together([one, NOTHING]) is one
    assert Mask.together([]) is NOTHING
    assert bool(one)
    assert not NOTHING
    assert "sesame" not in repr(one)


def test_bytes_are_masked_as_texts_are():
    mask = Mask(["\u00fcber"])
    assert mask.in_bytes("\u00fcber alles".encode()).decode() == f"{MASK} alles"
    assert mask.longest >= 4
    assert NOTHING.longest == 0


def test_a_number_is_masked_if_it_is_the_whole_secret():
    mask = Mask(["1234", "1.5", "True"])
    assert [mask.in_value(value) for value in (1234, 1.5, "1234.")] == [MASK, MASK, f"{MASK}."]
    assert [mask.in_value(value) for value in (12345, True, None, -1234)] == [12345, True, None, -1234]
