"""An analyst's browser: a row in, the answer, the past cases beside it."""

import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

WAIT_S = 120
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1200,900",
)


@pytest.fixture
def browser(tmp_path):
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no chromium or chromedriver here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    browser.set_page_load_timeout(WAIT_S)
    yield browser
    browser.quit()


def fill(browser, row: dict) -> None:
    for name, value in row.items():
        browser.find_element(By.NAME, name).clear()
        browser.find_element(By.NAME, name).send_keys("" if value is None else str(value))
    browser.find_element(By.TAG_NAME, "button").click()


def cells(browser, table: str) -> list[list[str]]:
    """Texts of a table, row by row."""
    wait = WebDriverWait(browser, WAIT_S)
    found = wait.until(lambda here: here.find_element(By.ID, table))
    rows = found.find_elements(By.TAG_NAME, "tr")
    return [[cell.text for cell in row.find_elements(By.CSS_SELECTOR, "th, td")] for row in rows]


def test_a_row_gets_its_answer_and_the_past_cases_beside_it(
    browser, served, make_table, to_rows, tmp_path
):
    (row,) = to_rows(make_table(3010, 1, seed=31).fillna({"a": 1.0}))
    browser.get(served.address)
    fill(browser, row)
    head, *answers = cells(browser, "answer")
    assert "probability" in head and {answer[0] for answer in answers} == {"no", "yes"}
    assert sum(float(answer[1]) for answer in answers) == pytest.approx(1, abs=2e-3)
    head, *lines = cells(browser, "cases")
    assert head[1:3] == ["this row", "case 1"] and len(head) == 10
    by_name = {line[0]: line[1:] for line in lines}
    assert by_name["kind"][0] == (row["kind"] or "–") and len(set(by_name["noise"])) > 1
    # What was asked is still in the form, for the next look.
    assert browser.find_element(By.NAME, "words").get_attribute("value") == row["words"]
    assert browser.save_screenshot(str(tmp_path / "page.png"))
    assert not [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]


def test_a_mistake_is_named_and_the_form_stays(browser, served, make_table, to_rows):
    (row,) = to_rows(make_table(3010, 1, seed=31))
    browser.get(served.address)
    fill(browser, {**row, "noise": "much"})
    wait = WebDriverWait(browser, WAIT_S)
    problem = wait.until(lambda here: here.find_element(By.CLASS_NAME, "problem"))
    assert problem.text == "noise: cannot be read as double"
    assert browser.find_element(By.NAME, "noise").get_attribute("value") == "much"
