"""Lines of the prediction log: whole ones are read, all others are known as such."""

import datetime as dt

import msgspec
import pytest

from ml_assets.ml.log_records import Feedback, Predicted, as_line, is_sampled, lines

AT = dt.datetime(2026, 1, 2, 3, 4, 5, 678_901, dt.UTC)
ANSWER = {
    "kind": "predict",
    "id": "r1",
    "at": AT,
    "version": "1.0.0",
    "role": "champion",
    "rows": [{"carrier": "AA", "note": "a\nb"}, {"carrier": None, "note": "é"}],
    "features": {"distance": [0.1 + 0.2, float("nan")]},
    "scores": [1 / 3, 0.25],
    "decisions": ["0", "1"],
}
OUTCOMES = {"kind": "feedback", "id": "f1", "at": AT, "outcomes": [{"id": "r1", "row": 0, "values": {"arr_delay": 12}}]}


def test_records_come_back_as_they_were() -> None:
    answer, outcomes = (line.record for line in lines(as_line(ANSWER) + as_line(msgspec.json.encode(OUTCOMES))))
    assert isinstance(answer, Predicted)
    assert isinstance(outcomes, Feedback)
    assert (answer.at, answer.scores, answer.features) == (AT, [1 / 3, 0.25], {"distance": [0.1 + 0.2, None]})
    assert [msgspec.json.decode(row) for row in answer.rows] == ANSWER["rows"]
    assert outcomes.outcomes[0].values == {"arr_delay": 12}


def test_a_torn_tail_is_no_line_at_any_offset() -> None:
    whole, torn = as_line(ANSWER), as_line(OUTCOMES)
    for cut in range(len(torn)):
        (line,) = lines(whole + torn[:cut], 100)
        assert (line.end, line.error) == (100 + len(whole), "")


def test_every_changed_byte_is_found_and_the_other_lines_are_read() -> None:
    before, line, after = as_line(OUTCOMES), as_line(ANSWER), as_line({**OUTCOMES, "id": "f2"})
    for place in range(len(line) - 1):
        changed = line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]
        first, *wrong, last = lines(before + changed + after)
        assert first.record is not None
        assert wrong
        assert all(one.record is None and "checksum" in one.error for one in wrong)
        assert isinstance(last.record, Feedback)
        assert last.record.id == "f2"


@pytest.mark.parametrize(
    ("record", "error"),
    [
        ({**ANSWER, "kind": "other"}, "Invalid value 'other'"),
        ({**ANSWER, "scores": [1.0]}, "it has 2 rows"),
        ({"kind": "predict"}, "missing required field"),
    ],
)
def test_a_line_that_is_no_record_says_why(record: dict[str, object], error: str) -> None:
    (line,) = lines(as_line(record))
    assert line.record is None
    assert error in line.error


def test_a_sample_has_its_share_of_the_requests_and_all_records_of_one() -> None:
    drawn = [is_sampled(f"request {number}", 0.25) for number in range(4000)]
    assert 900 < sum(drawn) < 1100
    assert drawn == [is_sampled(f"request {number}", 0.25) for number in range(4000)]
    assert all(is_sampled(str(number), 1.0) for number in range(100))
    assert not any(is_sampled(str(number), 0.0) for number in range(100))
