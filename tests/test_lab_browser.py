"""The lab in a real browser: clicked, typed into, dragged, and driven by the keyboard alone."""

from __future__ import annotations

import os
import re
import shutil
from fractions import Fraction

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="the lab is driven by selenium: pip install selenium")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if CHROMIUM is None or DRIVER is None:
    pytest.skip("the lab is driven in Chromium: apt-get install chromium chromium-driver", allow_module_level=True)

from selenium.webdriver import ActionChains, Keys  # noqa: E402  (what is not installed is said first)
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.select import Select  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

from bitquant.lab import Lab  # noqa: E402
from bitquant.lab.api import ANSWERS  # noqa: E402


@pytest.fixture(scope="module")
def lab():
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def chromium():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium as root has none
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", *sandbox):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


class Page:
    """The page in the browser, as a user meets it."""

    def __init__(self, driver, url, width=1200, scheme="light"):
        self.driver = driver
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        driver.get(url)
        self.until(lambda: self.text("q-accuracy") and self.text("code-value") and self.rows())

    def until(self, true):
        return WebDriverWait(self.driver, 20, poll_frequency=0.02).until(lambda _: true())

    def element(self, name):
        return self.driver.find_element(By.ID, name)

    def text(self, name):
        return self.driver.execute_script("return document.getElementById(arguments[0]).textContent", name).strip()

    def shows(self, name, text):
        self.until(lambda: self.text(name) == text)

    def bits(self):
        return self.driver.find_elements(By.CSS_SELECTOR, "#bit-row button")

    def pattern(self):
        return self.driver.execute_script(
            "return [...document.querySelectorAll('#bit-row button')].map((bit) => bit.textContent).join('')"
        )

    def rows(self):
        """The table of roundings: format and the values of its cells."""
        return self.driver.execute_script(
            "return [...document.querySelector('#round-table').tBodies[0].rows].map((row) => "
            "[row.cells[0].textContent, ...[...row.cells].slice(1).map((cell) => cell.textContent)])"
        )

    def write(self, name, text):
        field = self.element(name)
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text)
        return field

    def focused(self):
        return self.driver.execute_script(
            "const it = document.activeElement; return it.id || it.getAttribute('aria-label') || it.textContent"
        )

    def press(self, *keys):
        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()


@pytest.fixture
def page(chromium, lab):
    page = Page(chromium, lab.url)
    yield page
    told = [line["message"] for line in chromium.get_log("browser")]
    assert [line for line in told if "400 (Bad Request)" not in line] == []  # no script error, nothing blocked


def asked(address, **question):
    return ANSWERS[f"/api/{address}"](question)


def test_a_bit_is_toggled_by_a_click(page):
    page.shows("code-value", "0.0999755859375")
    sign = page.bits()[0]
    assert (sign.accessible_name, sign.get_attribute("aria-pressed")) == ("sign bit", "false")
    sign.click()
    page.shows("code-value", "-0.0999755859375")
    assert page.bits()[0].get_attribute("aria-pressed") == "true"
    assert page.text("bits-status") == "-0.0999755859375, normal, code 0xAE66"
    page.bits()[-1].click()
    page.shows("code-code", "0xAE67")


def test_bits_clicked_faster_than_answers_come_are_all_toggled(page):
    page.driver.execute_script("for (const bit of document.querySelectorAll('#bit-row button')) bit.click()")
    page.shows("code-code", "0xD199")


def test_what_is_shown_of_a_code_is_what_the_library_says(page):
    for bits in ("0111110000000000", "0000000000000000", "0111111000000000", "0011110000000001"):
        for place, (mine, other) in enumerate(zip(page.pattern(), bits, strict=True)):
            if mine != other:
                page.bits()[place].click()
                page.until(lambda place=place, other=other: page.pattern()[place] == other)
        told = asked("code", format="float16", bits=bits)
        for name in ("value", "class", "code", "exact", "rational", "hex", "spacing"):
            page.shows(f"code-{name}", told[name] or "–")
        page.shows("code-interval", told["interval"]["text"] if told["interval"] else "–")
        for side in ("below", "above"):
            page.shows(f"code-{side}", told[side]["value"] if told[side] else "–")
        assert page.element("line").is_displayed() == (told["line"] is not None)


def test_neighbours_are_walked_to(page):
    page.element("code-above").find_element(By.TAG_NAME, "button").click()
    page.shows("code-value", "0.10003662109375")
    for code in ("0x2E68", "0x2E69", "0x2E6A"):
        page.press(Keys.ENTER)  # the focus stays on the neighbour that was asked for
        page.shows("code-code", code)


def test_bits_are_reached_and_toggled_by_the_keyboard(page):
    page.element("find").find_element(By.TAG_NAME, "button").send_keys(Keys.TAB)
    assert page.focused() == "sign bit"
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert page.focused() == "exponent bit 2 of 5"
    page.press(Keys.SPACE)
    page.until(lambda: page.pattern() == "0000111001100110")
    assert page.focused() == "exponent bit 2 of 5"
    page.press(Keys.END)
    assert page.focused() == "significand bit 10 of 10"
    page.press(Keys.ARROW_RIGHT, Keys.HOME, Keys.ARROW_LEFT)
    assert page.focused() == "sign bit"
    page.press(Keys.TAB)  # the bits are one stop
    assert page.driver.switch_to.active_element.text == page.text("code-below")


def test_a_number_is_typed_and_its_bits_are_shown(page):
    page.write("find-text", "1/3").send_keys(Keys.ENTER)
    page.shows("code-code", "0x3555")
    Select(page.element("bits-format")).select_by_value("float8_e4m3fn")
    page.shows("code-code", asked("find", format="float8_e4m3fn", text="1/3")["code"])
    assert len(page.bits()) == 8
    Select(page.element("bits-format")).select_by_value("uint64")
    page.write("find-text", "18446744073709551615").send_keys(Keys.ENTER)
    page.shows("code-exact", "18446744073709551615")
    assert page.driver.find_element(By.CSS_SELECTOR, "#bit-row legend").text == "integer = 18446744073709551615"


def test_what_cannot_be_read_is_said_and_changes_nothing(page):
    page.write("find-text", "a third").send_keys(Keys.ENTER)
    page.until(lambda: "'a third' is no number" in page.text("bits-problem"))
    assert page.element("bits-problem").aria_role == "alert"
    assert page.text("code-code") == "0x2E66"
    page.write("find-text", "0.5").send_keys(Keys.ENTER)
    page.shows("code-code", "0x3800")
    assert page.text("bits-problem") == ""


def test_a_typed_number_is_rounded_in_every_way_while_it_is_typed(page):
    page.write("round-text", "1/3")
    page.shows("round-rational", "1/3")
    formats = [row[0] for row in page.rows()]
    told = asked("round", text="1/3", formats=formats, source="float16")
    for shown, row in zip(page.rows(), told["rows"], strict=True):
        for text, cell in zip(shown[1:], row["cells"], strict=True):
            assert {"up": "▲", "down": "▼", "exact": "="}[cell["way"]] in text
            assert cell["value"] in text
            assert cell["code"] in text
    assert page.text("round-status").startswith("To nearest even: float32 0.333333343; float16 0.333251953125")


def test_formats_are_added_to_the_table(page):
    page.driver.find_element(By.CSS_SELECTOR, "#round-formats summary").click()
    page.driver.find_element(By.CSS_SELECTOR, "#round-formats input[value=float4_e2m1fn]").click()
    page.until(lambda: "float4_e2m1fn" in [row[0] for row in page.rows()])
    page.driver.find_element(By.CSS_SELECTOR, "#round-formats input[value=float32]").click()
    page.until(lambda: "float32" not in [row[0] for row in page.rows()])


def test_bits_are_rounded_as_those_of_the_format_that_is_chosen(page):
    page.write("round-text", "0x3E00")
    page.shows("round-exact", "1.5 (bits of float16)")
    Select(page.element("round-source")).select_by_value("bfloat16")
    page.shows("round-exact", "0.125 (bits of bfloat16)")


def agrees(page, **question):
    """Wait until the page shows what the library says of a layer."""
    told = asked("quantize", layer="layer1.weight", **question)
    page.shows("q-range", told["range"])
    expected = {
        "q-scale": told["scale"],
        "q-step": told["step"],
        "q-zero": str(told["zero_point"]),
        "q-sqnr": told["sqnr"],
        "q-clipped": f"{told['clipped']} numbers, {told['clipped_percent']}",
        "q-max": told["max_abs"],
        "q-codes": f"{told['codes_used']} of {len(told['codes'])} in use, {told['qmin']} to {told['qmax']}",
        "q-accuracy": f"{told['accuracy']} (FP32 {asked('start')['accuracy']}); {told['wrong']} of 500 wrong",
    }
    assert {name: page.text(name) for name in expected} == expected
    bars = page.driver.find_elements(By.CSS_SELECTOR, "#codes rect")
    assert len(bars) == len(told["codes"])
    return told


def test_an_end_of_the_range_is_dragged(page):
    before = agrees(page, scheme="symmetric", bits=4, method="minmax")
    high = page.element("high")
    width = high.size["width"]
    share = (float(before["high"]) + 1) / 2  # the slider goes from -1 to 1, its thumb is 14 pixels wide
    start = 7 + share * (width - 14) - width / 2
    high.location_once_scrolled_into_view  # noqa: B018
    action = ActionChains(page.driver, duration=20).move_to_element_with_offset(high, round(start), 0).click_and_hold()
    for _ in range(10):
        action.move_by_offset(-round(width / 40), 0)
    action.release().perform()
    page.until(lambda: float(page.element("high").get_attribute("value")) < 0.7)
    value = page.element("high").get_attribute("value")
    after = agrees(page, scheme="symmetric", bits=4, low="-1", high=value, moved="high")
    assert after["clipped"] > before["clipped"]
    assert page.element("low").get_attribute("value") == f"-{value}"  # the symmetric scheme keeps both ends alike
    assert Select(page.element("layer-method")).first_selected_option.text == "hand"
    outside = page.driver.execute_script("return document.getElementById('outside-high').getAttribute('width')")
    assert float(outside) == pytest.approx(600 * (1 - (float(value) + 1) / 2), abs=0.01)


def test_the_range_is_moved_by_the_keyboard(page):
    Select(page.element("layer-scheme")).select_by_value("asymmetric")
    agrees(page, scheme="asymmetric", bits=4, method="minmax")
    page.element("low").send_keys(Keys.HOME)
    page.until(lambda: page.text("q-range").startswith("-1 …"))
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    page.until(lambda: page.text("q-range").startswith("-0.996 …"))
    assert page.element("low").get_attribute("aria-valuetext") == "-0.996, code -8"
    page.press(Keys.TAB)
    assert page.focused() == "high"
    page.press(Keys.ARROW_LEFT)
    high = page.element("high").get_attribute("value")
    agrees(page, scheme="asymmetric", bits=4, low="-0.996", high=high, moved="high")
    assert page.text("layer-status").startswith(f"Range -0.996 … {float(high):g}: accuracy ")


def test_ends_that_cross_are_refused_with_a_sentence(page):
    Select(page.element("layer-scheme")).select_by_value("asymmetric")
    page.element("high").send_keys(Keys.HOME)
    page.until(lambda: "has to lie below the high end" in page.text("layer-problem"))
    page.element("high").send_keys(Keys.END)
    page.until(lambda: page.text("layer-problem") == "" and page.text("q-range").endswith("… 1"))


def test_bits_layer_and_method_are_chosen(page):
    for bits in ("2", "8"):
        Select(page.element("layer-bits")).select_by_value(bits)
        agrees(page, scheme="symmetric", bits=int(bits), method="minmax")
    Select(page.element("layer-method")).select_by_value("mse")
    agrees(page, scheme="symmetric", bits=8, method="mse")
    Select(page.element("layer-name")).select_by_value("layer3.weight")
    told = asked("quantize", layer="layer3.weight", scheme="symmetric", bits=8, method="mse")
    page.shows("q-range", told["range"])
    bars = page.driver.find_elements(By.CSS_SELECTOR, "#histogram rect.bar")
    assert len(bars) == len(asked("tensor", layer="layer3.weight")["bars"])


@pytest.mark.parametrize("width", [320, 400, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen_and_can_be_read(chromium, lab, width, scheme):
    page = Page(chromium, lab.url, width, scheme)
    Select(page.element("bits-format")).select_by_value("float64")
    page.until(lambda: len(page.bits()) == 64)
    scroll, inner = chromium.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert scroll <= inner == width
    grounds = []
    for selector in ("body", "section", ".help", "dt", "a[href='#bits']", "select", ".problem", *FIELDS):
        ink, ground = colour(page, selector, "color"), ground_of(page, selector)
        assert contrast(ink, ground) >= 4.5, (selector, ink, ground)
        grounds.append(luminance(ground))
    assert (grounds[0] < 0.2) == (scheme == "dark")


FIELDS = [
    f".field.{name} {part}"
    for name in ("sign", "exponent", "significand")
    for part in ("legend", ".bit[aria-pressed=true]", ".bit[aria-pressed=false]")
    if (name, part) != ("sign", ".bit[aria-pressed=true]")  # of 0.1, which is positive
]


def ground_of(page, selector):
    """The background that a text stands on: its own, or that of what it is in."""
    found = page.driver.execute_script(
        "let it = document.querySelector(arguments[0]);"
        "while (getComputedStyle(it).backgroundColor === 'rgba(0, 0, 0, 0)') it = it.parentElement;"
        "return getComputedStyle(it).backgroundColor",
        selector,
    )
    return rgb_of(found)


def colour(page, selector, what):
    found = page.driver.execute_script(
        "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]", selector, what
    )
    return rgb_of(found)


def rgb_of(text):
    return [int(part) / 255 for part in re.findall(r"\d+", text)[:3]]


def luminance(rgb):
    """Relative luminance (WCAG 2.2)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_everything_that_can_be_used_has_a_name_for_a_screen_reader(page):
    page.driver.find_element(By.CSS_SELECTOR, "#round-formats summary").click()
    page.driver.execute_cdp_cmd("Accessibility.enable", {})
    nodes = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    seen = {}
    for node in nodes:
        role = node.get("role", {}).get("value")
        if role in ("button", "textbox", "combobox", "slider", "checkbox", "link", "table", "region", "image", "img"):
            assert node.get("name", {}).get("value", "").strip(), node
            seen[role] = seen.get(role, 0) + 1
    assert {"button", "textbox", "combobox", "slider", "checkbox", "link", "region"} <= set(seen)
    assert seen["slider"] == 2
    landmarks = {node.get("role", {}).get("value") for node in nodes}
    assert {"banner", "navigation", "main", "contentinfo", "heading", "status", "alert"} <= landmarks


def test_everything_is_reached_by_the_tab_key_in_order(page):
    page.driver.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
    order = []
    for _ in range(60):
        page.press(Keys.TAB)
        name = page.driver.execute_script(
            "const it = document.activeElement;return it === document.body ? '' : it.id || it.className || it.tagName"
        )
        if not name or (order and name == order[0] == "skip"):
            break
        order.append(name)
    wanted = ["skip", "bits-format", "find-text", "bit", "round-text", "round-source", "layer-name", "layer-scheme",
              "layer-bits", "layer-method", "low", "high"]  # fmt: skip
    assert [name for name in order if name in wanted] == wanted


def test_nothing_is_fetched_from_elsewhere(page, lab):
    fetched = page.driver.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert len(fetched) >= 6
    assert all(name.startswith(lab.url) for name in fetched)


def test_answers_that_come_late_do_not_replace_newer_ones(page):
    field = page.element("round-text")
    field.send_keys(Keys.CONTROL, "a")
    for letter in "0.123456789":
        field.send_keys(letter)
    page.shows("round-exact", "0.123456789")
    assert Fraction(page.text("round-rational")) == Fraction("0.123456789")
