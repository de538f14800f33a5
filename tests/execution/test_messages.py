import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qorworker.execution.messages import DONE, FRAME, LOG, BadRecord, clean_text, decode, encode, frame

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
    st.tuples(st.just("row"), job_ids, st.lists(st.tuples(any_text, any_text, any_text).map(list)), any_text),
    st.tuples(st.just("columns"), job_ids, st.lists(any_text | st.lists(any_text, min_size=1, max_size=2))),
    st.tuples(st.just("file"), job_ids, numbers, st.dictionaries(any_text, any_text | st.integers())),
    st.tuples(st.just("end"), job_ids, st.just({"outcome": "done", "error": "", "duration": 0.5})),
    st.tuples(
        st.just("end"),
        job_ids,
        st.fixed_dictionaries(
            {"outcome": st.just("done"), "duration": numbers, "peak_memory": job_ids, "returned_at": numbers},
            optional={"leftovers": st.just(True), "committed": st.just(True)},
        ),
    ),
    st.tuples(st.sampled_from(["left", "leaving", "moved"]), job_ids),
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


@pytest.mark.parametrize("time", [math.nan, math.inf, -math.inf])
def test_a_short_end_whose_times_are_no_numbers_is_refused(time):
    for times in ((time, 1.0), (1.0, time)):
        with pytest.raises(BadRecord):
            decode(DONE.pack(b"\0", 1, times[0], 4096, times[1]))

    with pytest.raises(BadRecord):
        decode(LOG.pack(b"\1", 1, time, 20) + b"text")


def test_a_line_of_the_log_is_short_and_any_text_is_decoded_as_json_decodes_it():
    line = ["log", 7, 1.5, 20, "Grüße \ud800\0\n"]
    assert decode(encode([line])) == [line]
    assert decode(encode([line, line])) == [line, line]
    assert encode([line])[:1] == b"\1" != encode([line, line])[:1]


@pytest.mark.parametrize("percent", [None, 0, 7, 100])
@pytest.mark.parametrize("text", [None, "", "row 7 of 9, Grüße \ud800"])
def test_an_update_of_the_progress_is_short(percent, text):
    update = ["progress", 7, percent, text]
    assert decode(encode([update])) == [update]
    assert encode([update])[:1] == b"\2" != encode([update, update])[:1]


@given(st.binary(max_size=60))
def test_bytes_after_the_mark_of_an_update_are_one_or_refused(rest):
    try:
        [record] = decode(b"\2" + rest)
    except BadRecord:
        return
    kind, number, percent, text = record
    assert (kind, type(number)) == ("progress", int)
    assert percent is None or 0 <= percent < 128
    assert text is None or isinstance(text, str)


@given(st.binary(max_size=60))
def test_bytes_after_the_mark_of_a_line_are_a_line_or_refused(rest):
    try:
        [record] = decode(b"\1" + rest)
    except BadRecord:
        return
    assert record[0] == "log"
    assert [*map(type, record[1:])] == [int, float, int, str]


@given(st.binary(max_size=40))
def test_a_short_end_of_another_length_is_refused(rest):
    message = b"\0" + rest
    if len(message) != DONE.size:
        with pytest.raises(BadRecord):
            decode(message)


def test_an_end_that_is_just_done_is_short():
    ending = {"outcome": "done", "duration": 0.001, "peak_memory": 4096, "returned_at": 17.5}
    assert len(encode([["end", 7, ending]])) == DONE.size < len(encode([["end", 7, {**ending, "delay": 1.0}]])) / 2


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


def test_several_short_ends_are_one_message_without_json():
    ends = [
        ["end", number, {"outcome": "done", "duration": 0.5, "peak_memory": 7, "returned_at": 2.5}] for number in (3, 5)
    ]
    message = encode(ends)
    assert len(message) == 2 * DONE.size
    assert decode(message) == ends
    longer = [*ends, ["end", 6, {"outcome": "failed", "duration": 0.5}]]
    assert decode(encode(longer)) == longer
    with pytest.raises(BadRecord):
        decode(message[: DONE.size] + b"\1" + message[DONE.size + 1 :])
