import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qorworker.execution.messages import FRAME, BadRecord, clean_text, decode, encode, frame

any_text = st.text(st.characters(), max_size=200)  # lone surrogates too
job_ids = st.integers(1, 2**62)
numbers = st.floats(allow_nan=False, allow_infinity=False)
records = st.one_of(
    st.tuples(st.just("log"), job_ids, numbers, st.integers(0, 100), any_text),
    st.tuples(st.just("progress"), job_ids, st.none() | st.integers(0, 100), st.none() | any_text),
    st.tuples(
        st.just("row"),
        job_ids,
        st.lists(st.tuples(st.none() | st.booleans() | st.integers() | numbers | any_text, any_text).map(list)),
    ),
    st.tuples(st.just("end"), job_ids, st.just({"outcome": "done", "error": "", "duration": 0.5})),
    st.tuples(st.just("left"), job_ids),
).map(list)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(records, max_size=5))
def test_records_are_decoded_as_they_were_encoded(sent):
    assert decode(encode(sent)) == sent


@given(st.binary(max_size=300))
def test_bytes_that_are_no_records_are_refused(message):
    try:
        decoded = decode(message)
    except BadRecord:
        return
    assert all(isinstance(record, list) for record in decoded)


@given(json_values)
def test_json_that_is_no_record_is_refused(value):
    try:
        decoded = decode(json.dumps([value]).encode())
    except BadRecord:
        return
    assert isinstance(decoded[0], list)
    assert decoded[0][0] in ("log", "progress", "row", "end", "left")


@pytest.mark.parametrize(
    "message",
    [
        "",
        "null",
        "{}",
        '"log"',
        "[[]]",
        '[["log"]]',
        '[["unknown", 1]]',
        '[["log", "1", 0.0, 20, "text"]]',
        '[["log", 1, "now", 20, "text"]]',
        '[["log", 1, 0.0, "INFO", "text"]]',
        '[["log", 1, 0.0, 20, null]]',
        '[["log", 1, 0.0, 20, "text", "more"]]',
        '[["log", 1, NaN, 20, "text"]]',
        '[["progress", 1, "half", null]]',
        '[["progress", 1, Infinity, null]]',
        '[["progress", 1, 50.5, null]]',
        '[["progress", 1, 50, 7]]',
        '[["row", 1, "cells"]]',
        '[["row", 1, [["value"]]]]',
        '[["row", 1, [["value", null]]]]',
        '[["row", 1, [{"value": "", "error": ""}]]]',
        '[["secrets", 1, ["a record of no kind"]]]',
        '[["end", 1, "done"]]',
        '[["end", 1, {}]]',
        '[["end", 1, {"outcome": 1}]]',
        '[["left"]]',
        '[["log", 1, 0.0, 20, "good"], ["bad"]]',
        "[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_messages_of_another_shape_are_refused(message):
    with pytest.raises(BadRecord):
        decode(message if isinstance(message, bytes) else message.encode())


@given(any_text, st.integers(2, 50))
def test_clean_text_is_storable_everywhere_and_not_longer(text, limit):
    cleaned = clean_text(text, limit)
    cleaned.encode("utf-8")
    assert "\0" not in cleaned
    surrogates = any("\ud800" <= character <= "\udfff" for character in text[:limit])
    assert surrogates or len(cleaned) <= limit


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50))
def test_ordinary_text_is_left_as_it_is(text):
    assert clean_text(text, 50) == text


def test_a_cut_is_shown():
    assert clean_text("abcdef", 6) == "abcdef"
    assert clean_text("abcdefg", 6) == "abcde…"


@given(st.binary(max_size=1000))
def test_a_frame_tells_its_length(payload):
    framed = frame(payload)
    assert FRAME.unpack(framed[: FRAME.size])[0] == len(payload)
    assert framed[FRAME.size :] == payload


def test_numbers_that_json_does_not_know_are_not_sent_as_words():
    with pytest.raises(BadRecord):
        decode(encode([["progress", 1, math.nan, None]]))
