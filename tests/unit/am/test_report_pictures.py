from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from am.reporting.canvas import Canvas, Scale, Style, rounded_out, ticks
from am.reporting.pictures import Axis, Difference, Point, Series, bars, curves, differences, scatter

SVG = "{http://www.w3.org/2000/svg}"
BLUE, RED = Style("blue", "circle"), Style("red", "ring", "4 2")


def marks(picture: str, css: str) -> list[tuple[float, float]]:
    """Centres of the round markers of a class."""
    found = ElementTree.fromstring(picture).iter(f"{SVG}circle")
    return [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in found if c.attrib["class"] == f"{css} mark"]


def places(picture: str, css: str) -> dict[str, tuple[float, float]]:
    """Where the texts of a class stand."""
    found = ElementTree.fromstring(picture).iter(f"{SVG}text")
    return {t.text or "": (float(t.attrib["x"]), float(t.attrib["y"])) for t in found if t.attrib.get("class") == css}


@pytest.mark.parametrize(
    ("low", "high", "wanted", "expected"),
    [(0, 100, 5, [0, 20, 40, 60, 80, 100]), (-7.3, 2.1, 5, [-6, -4, -2, 0, 2]), (0.12, 0.31, 4, [0.15, 0.2, 0.25, 0.3]),
     (3, 3, 5, [3])],
)  # fmt: skip
def test_ticks_are_round_values_within_the_range(low: float, high: float, wanted: int, expected: list[float]) -> None:
    assert ticks(low, high, wanted) == expected


def test_a_range_is_rounded_out_to_its_ticks() -> None:
    assert rounded_out(3.2, 97) == (0, 100)
    assert rounded_out(5, 5) == (4.5, 5.5)


def test_a_scale_is_a_straight_line_and_survives_an_empty_range() -> None:
    assert [Scale(10, 20, 100, 300)(value) for value in (10, 15, 20, 25)] == [100, 200, 300, 400]
    assert Scale(7, 7, 0, 10)(7) == 5


def test_differences_stand_where_their_values_are_on_the_axis() -> None:
    rows = [Difference("system", "one", -4, -6, -2, "-4", BLUE), Difference("system", "two", 2, 0, 4, "+2", BLUE)]
    for picture in differences(rows, axis="points", label="a picture"):
        (first, _), (second, _) = marks(picture, "blue")
        axis = places(picture, "tick")
        mark = next(text for text in axis if text.startswith("-"))
        unit = (axis["0"][0] - axis[mark][0]) / -float(mark)
        assert first == pytest.approx(axis["0"][0] - 4 * unit, abs=0.2)
        assert second == pytest.approx(axis["0"][0] + 2 * unit, abs=0.2)
        ends = re.findall(r'class="blue stroke interval" d="M([\d.]+) [\d.]+L([\d.]+)', picture)
        assert float(ends[0][1]) - float(ends[0][0]) == pytest.approx(4 * unit, abs=0.2)
        assert list(places(picture, "heading")) == ["system"], "one heading over both"


def test_the_narrow_picture_of_differences_fits_a_phone_and_its_texts_do_not_meet() -> None:
    rows = [Difference("system", "noisy -> enhanced, observation added", -4, -6, -2, "-4.00 [-6.00, -2.00]", BLUE)]
    wide, narrow = differences(rows, axis="points", label="a picture")
    box = ElementTree.fromstring(narrow).attrib["viewBox"].split()
    assert float(box[2]) <= 375 < float(ElementTree.fromstring(wide).attrib["viewBox"].split()[2])
    (label,), (value,) = places(narrow, "rowlabel").values(), places(narrow, "value").values()
    assert value[1] - label[1] >= 13, "on lines of their own"


def test_curves_go_through_their_points_with_intervals_about_them() -> None:
    points = (Point(0, 20, 10, 30), Point(10, 60, 50, 80))
    picture = curves([Series("one", BLUE, points)], x=Axis("SNR"), y=Axis("WER", limits=(0, 100)), label="curves")
    (x0, y0), (x1, y1) = marks(picture, "blue")
    assert x0 < x1 and y0 > y1, "upwards on the page is less"
    unit = (y0 - y1) / 40
    ends = re.findall(r'class="blue stroke thin" d="M([\d.]+) ([\d.]+)L[\d.]+ ([\d.]+)', picture)
    assert [float(v) for v in ends[0]] == pytest.approx([x0, y0 + 10 * unit, y0 - 10 * unit], abs=0.2)


def test_series_differ_in_more_than_colour() -> None:
    points = (Point(0, 1), Point(1, 2))
    picture = curves([Series("a", BLUE, points), Series("b", RED, points)], x=Axis("x"), y=Axis("y"), label="curves")
    assert 'class="red stroke" d="' in picture and 'stroke-dasharray="4 2"' in picture
    assert len(re.findall('class="red mark" fill="none"', picture)) == 2, "rings"


def test_without_marks_a_lone_point_is_still_seen() -> None:
    line = Series("a", BLUE, (Point(0, 1), Point(1, 2)))
    lone = Series("b", RED, (Point(0, 1),))
    picture = curves([line, lone], x=Axis("x"), y=Axis("y"), label="curves", marks=False)
    assert len(marks(picture, "blue")) == 0 and len(marks(picture, "red")) == 1


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_shaded_corner_of_a_scatter_is_its_upper_quarter(side: str) -> None:
    points = (Point(-2, -1), Point(2, 1))
    picture = scatter([Series("a", BLUE, points)], x=Axis("x", limits=(-2, 2)), y=Axis("y", limits=(-1, 1)), label="s",
                      corner=(side, "here"))  # fmt: skip
    shade = next(r for r in ElementTree.fromstring(picture).iter(f"{SVG}rect") if r.attrib["class"] == "shade")
    (left, bottom), (right, top) = marks(picture, "blue")
    begin, width = float(shade.attrib["x"]), float(shade.attrib["width"])
    middle = (left + right) / 2
    assert (begin, begin + width) == pytest.approx((left, middle) if side == "left" else (middle, right), abs=0.2)
    assert float(shade.attrib["y"]) == pytest.approx(top, abs=0.2)
    assert float(shade.attrib["height"]) == pytest.approx((bottom - top) / 2, abs=0.2)


def test_bars_are_as_long_as_their_values() -> None:
    for picture in bars([("a", 10.0, "10 s"), ("b", 40.0, "40 s")], label="bars"):
        widths = [float(r.attrib["width"]) for r in ElementTree.fromstring(picture).iter(f"{SVG}rect")]
        assert widths[1] == pytest.approx(4 * widths[0], abs=0.3)


def test_texts_and_labels_are_escaped() -> None:
    canvas = Canvas(10, 10, 'a "label" & <more>')
    canvas.text(1, 1, "<b> & co", "note")
    root = ElementTree.fromstring(canvas.svg())
    assert root.attrib["aria-label"] == 'a "label" & <more>' and root[0].text == "<b> & co"
