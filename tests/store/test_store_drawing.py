"""Pictures that stand alone: nothing in them waits for the style sheet of a page."""

import re
from xml.etree import ElementTree

from glasshouse.store.drawing import curves, curves_file, number
from glasshouse.store.panels import Curves

PANEL = Curves(
    "Accuracy & chance",
    "update",
    "share",
    {"first": [(0, 0.2), (10, 0.6)], "second": [(0, 0.3), (10, 0.5)]},
    bands={"first": [(0, 0.1, 0.3), (10, 0.5, 0.7)]},
    levels={"chance": 0.25},
)


def test_a_file_has_a_style_for_everything_in_it():
    root = ElementTree.fromstring(curves_file(PANEL))
    style = "".join(element.text for element in root.iter("{http://www.w3.org/2000/svg}style"))
    styled = set(re.findall(r"\.([a-z]+)", style))
    drawn = {element.get("class").split()[0] for element in root.iter() if element.get("class")}
    assert {"line", "band", "level", "key"} <= drawn
    assert drawn - {"tick"} <= styled  # ticks are text, which has a style of its own
    assert ".band.c0{fill:" in style


def test_page_and_file_hold_the_same_picture():
    page = ElementTree.fromstring(curves(PANEL).partition("<div")[0])
    file = ElementTree.fromstring(curves_file(PANEL))
    assert page.get("aria-label") == file.get("aria-label") == PANEL.title
    assert [element.attrib for element in page] == [element.attrib for element in file][1 : 1 + len(page)]


def test_numbers_are_as_short_as_they_can_be_read():
    given = (0, 0.5, 999.4, 999.7, 1536.2, 9999, 10_000, 1_234_567, 1.23e-4)
    assert [number(value) for value in given] == ["0", "0.5", "999", "1000", "1536", "9999", "10k", "1.23M", "1.23e-04"]
