# SPDX-License-Identifier: Apache-2.0
"""The example site in a real Apache: clicked through in Chromium, and asked by an exact client."""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from t.support import environment
from t.support.apache import Apache

sys.path.insert(0, str(environment.ROOT / "t" / "apps"))

from wiki.site import prepare  # noqa: E402

DIRECTIVES = """\
Define DEMO_DIR "@ROOT@"
Define PROGRAM "@TREE@"
Define VENV "@VENV@"
Define STORAGE "sqlite://@ROOT@/main"
Include "@TREE@/t/apps/wiki/site.conf"
"""

ARRIVED = "return document.readyState == 'complete' && !document.documentElement.dataset.left"
FORM_TYPE = ("Content-Type", "application/x-www-form-urlencoded")
FERNS = "/garden/ferns"


class Site:
    """The site of one test, with what a visitor does."""

    def __init__(self, server):
        self.server = server

    def get(self, path, status=200):
        response = self.server.get(path)
        assert response.status == status, response.text
        return response

    def post(self, path, fields, headers=(), status=303):
        body = urlencode(fields).encode()
        response = self.server.request("POST", path, [FORM_TYPE, *headers], body)
        assert response.status == status, response.text
        return response

    def json(self, path, status=200):
        return json.loads(self.get(path, status).body)

    def put(self, path, document, status=200):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        headers = [("Content-Type", "application/json")]
        response = self.server.request("PUT", f"/api/pages/{path}", headers, body)
        assert response.status == status, response.text
        return json.loads(response.body)

    def text(self, path):
        return self.json(f"/api/pages/{path}")["text"]


def start_site(server):
    main = server.writable_folder("main")
    prepare(f"sqlite://{main}")
    for path in main.rglob("*"):
        environment.give_to_server(path)
    script = "from api.application import create\n\n"
    script += f"application = create('sqlite://{main}')\n"
    server.write("api.wsgi", script)
    server.start()
    server.wait_log("is ready (", seconds=60)
    return Site(server)


@pytest.fixture(scope="module")
def shared_server():
    """One server for the tests that only add to the wiki; checked like any other at its end."""
    server = Apache(DIRECTIVES)
    try:
        start_site(server)
        yield server
    finally:
        wrong = server.verify()
    assert not wrong, "\n".join(wrong)
    server.remove()


@pytest.fixture
def site(shared_server):
    yield Site(shared_server)
    assert not shared_server.unexpected_lines()


@pytest.fixture
def own_site(apache):
    """A server for one test."""
    return start_site(apache(DIRECTIVES, start=False))


class Visitor:
    """What somebody does in a browser's window."""

    def __init__(self, browser, site):
        self.browser, self.site = browser, site

    def open(self, path):
        self.browser.get(self.site.server.url(path))

    @property
    def page(self):
        return self.browser.find_element(By.TAG_NAME, "main").text

    @property
    def path(self):
        return re.sub(r"^http://[^/]+|\?.*", "", self.browser.current_url)

    def find(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def find_all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def count(self, selector):
        """How many there are now; finding none would wait for one to appear."""
        script = "return document.querySelectorAll(arguments[0]).length"
        return self.browser.execute_script(script, selector)

    def _leave_by(self, element):
        """Click, and wait for the next page: the one without the mark that this one gets."""
        self.browser.execute_script("document.documentElement.dataset.left = 1")
        element.click()
        waiting = WebDriverWait(
            self.browser, 10 * environment.PATIENCE, 0.05, ignored_exceptions=[WebDriverException]
        )
        waiting.until(lambda browser: browser.execute_script(ARRIVED))

    def follow(self, words):
        self._leave_by(self.browser.find_element(By.LINK_TEXT, words))

    def fill(self, **fields):
        for name, value in fields.items():
            field = self.find(f"main [name={name}]")
            field.clear()
            field.send_keys(value)

    def send(self):
        self._leave_by(self.find("main form button"))


@pytest.fixture
def visitor(browser, site):
    return Visitor(browser, site)


# ---- In a browser ------------------------------------------------------------------------


def test_a_visitor_makes_a_folder_and_a_page_edits_it_and_finds_it(visitor, site):
    visitor.open("/")
    visitor.follow("New folder")
    visitor.fill(title="Rock & Water")
    visitor.send()
    assert visitor.path == "/rock-water"
    assert "Created." in visitor.page

    visitor.follow("New page")
    visitor.fill(title="Lichens", text="Two in one: a *fungus* and an alga.", author="Ada")
    visitor.send()
    assert visitor.path == "/rock-water/lichens"
    assert visitor.find(".text em").text == "fungus"
    assert "Revision 1" in visitor.page
    assert "by Ada" in visitor.page

    visitor.follow("Edit")
    assert visitor.find("[name=author]").get_attribute("value") == "Ada"
    visitor.fill(text="Slow growers on bare stone. See [[Moss]] and [[/Garden/Mosses]].")
    visitor.send()
    assert "Saved." in visitor.page
    missing, found = visitor.find_all(".text a")
    assert missing.get_attribute("class") == "wiki missing"
    assert found.get_attribute("href") == site.server.url("/garden/mosses")

    visitor.find("#q").send_keys("slow stone\n")
    visitor.follow("Lichens")
    assert visitor.path == "/rock-water/lichens"
    assert site.text("rock-water/lichens").startswith("Slow growers")


def test_two_windows_that_change_one_line_see_both_texts_and_lose_none(visitor, site, browser):
    text = "First.\n\n- Shade, and more.\n"
    site.post("/garden/@@new-page", {"title": "Two windows", "text": text})
    edit = "/garden/two-windows/@@edit"
    visitor.open(edit)
    first = browser.current_window_handle
    browser.switch_to.new_window("window")
    try:
        visitor.open(edit)
        assert visitor.find("[name=text]").get_attribute("value") == text
        visitor.fill(text=text.replace("- Shade, and", "- Deep shade, and"), author="Bea")
        visitor.send()
        assert "Saved." in visitor.page
    finally:
        browser.close()
        browser.switch_to.window(first)
    visitor.fill(
        text=text.replace("- Shade, and", "- Half shade, and") + "\nFourth.\n", author="Ada"
    )
    visitor.send()
    assert "Bea saved this page while you were writing" in visitor.page
    mine, theirs = visitor.find_all(".merge .conflict > div")
    assert "Half shade" in mine.text
    assert "Deep shade" in theirs.text

    merged = visitor.find("[name=text]").get_attribute("value")
    assert "Half shade" in merged
    assert "Deep shade" in merged
    assert "Fourth." in merged
    visitor.send()
    assert "marks around a conflict are still in the text" in visitor.page
    resolved = re.sub(r"<{7}[^>]*>{7} saved meanwhile", "- Any shade.", merged)
    visitor.fill(text=resolved)
    visitor.send()
    assert visitor.path == "/garden/two-windows"
    assert "Revision 3" in visitor.page
    assert "Any shade." in visitor.page
    assert site.text("garden/two-windows") == resolved


def test_a_failing_page_shows_the_id_by_which_the_log_knows_it(browser, own_site):
    own_site.server.expect("PIPE0640")
    visitor = Visitor(browser, own_site)
    visitor.open("/")
    visitor.follow("a link that fails")
    assert visitor.find("h1").text == "Something went wrong"
    number = visitor.find(".id code").text
    line = own_site.server.wait_log(number)
    assert "PIPE0640" in line
    assert "this page fails on purpose" in line
    visitor.follow("To the start")
    assert visitor.path == "/"


def test_a_missing_page_offers_to_be_written(visitor):
    visitor.open("/garden/tree-frogs")
    assert visitor.find("h1").text == "There is no such page"
    visitor.follow("Write this page")
    assert visitor.find("[name=title]").get_attribute("value") == "Tree frogs"
    visitor.send()
    assert visitor.path == "/garden/tree-frogs"


def test_the_status_page_draws_requests_and_workers(visitor):
    visitor.open("/")
    visitor.follow("Status")
    page = visitor.find("body").text
    assert "Process group wiki: 2 of 2 daemons serve" in page
    assert "Requests per second" in page
    assert visitor.count("svg polyline, svg path") >= 2
    assert visitor.count("ol.workers li") == 4


def test_what_was_written_never_runs_and_nothing_comes_from_elsewhere(visitor, site, browser):
    nasty = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
    site.post(
        "/@@new-page",
        {"title": nasty[:100], "text": f"{nasty}\n\n[[{nasty}]] ![x](http://127.0.0.1:9/x.png)"},
    )
    for path in ("/", "/@@search?q=script", "/@@search?q=" + urlencode({"": nasty})[1:]):
        visitor.open(path)
        assert browser.title != "taken"
        assert visitor.count("script, main img") == 0
    visitor.open("/")
    visitor.follow(nasty[:100])
    assert "<script>" in visitor.page
    assert visitor.count("script, main img") == 0
    for path in ("/", FERNS, f"{FERNS}/@@edit"):
        text = site.get(path).text
        assert "<script" not in text
        assert not re.search(r"""(src|href)=["']?(https?:)?//(?!127\.0\.0\.1)""", text)


def test_pages_fit_a_telephone(visitor, site, browser):
    long_word = "x" * 300
    site.post("/@@new-page", {"title": "Wide", "text": f"{long_word}\n\n    {long_word}\n"})
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        for path in ("/", "/wide", "/how-this-works", f"{FERNS}/@@edit", f"{FERNS}/@@history"):
            visitor.open(path)
            width = browser.execute_script("return document.documentElement.scrollWidth")
            assert width == 360, path
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


# ---- By an exact client ------------------------------------------------------------------


def test_curl_gets_pages_files_and_health(site):
    def curl(path):
        answer = subprocess.run(
            ["curl", "-sS", "-i", "--max-time", "20", site.server.url(path)],
            env=environment.clean_environment(),
            capture_output=True,
            check=True,
        )
        head, _, body = answer.stdout.decode().partition("\r\n\r\n")
        return head.lower(), body

    head, body = curl("/how-this-works")
    assert head.startswith("http/1.1 200")
    assert "content-type: text/html; charset=utf-8" in head
    assert "content-security-policy: default-src 'none'" in head
    assert "<h1>How this works</h1>" in body
    assert curl("/ready")[1].startswith("wiki: ok")
    assert "image/svg+xml" in curl("/static/icon.svg")[0]
    assert curl("/nothing/here")[0].startswith("http/1.1 404")


def test_changes_in_different_lines_are_merged_without_asking(site):
    site.post("/@@new-page", {"title": "List", "text": "one\ntwo\nthree\n"})
    form = {"title": "List", "revision": "1"}
    site.post("/list/@@edit", form | {"text": "ONE\ntwo\nthree\n"})
    answer = site.post("/list/@@edit", form | {"text": "one\ntwo\nthree\nfour\n"})
    assert answer.header("Location").endswith("/list?notice=merged")
    assert site.text("list") == "ONE\ntwo\nthree\nfour\n"


def test_many_who_save_at_once_all_find_their_line(own_site):
    """Whoever is told that too many others save at the same time does so again, as a visitor."""
    own_site.server.expect("PIPE0620")
    lines = [f"line {number}" for number in range(8)]
    start = "\n\n".join(lines) + "\n"
    own_site.post("/@@new-page", {"title": "Crowd", "text": start})

    def save(number):
        text = start.replace(lines[number], f"changed by {number}")
        body = urlencode({"title": "Crowd", "revision": "1", "text": text}).encode()
        status = 503
        while status == 503:
            status = own_site.server.request("POST", "/crowd/@@edit", [FORM_TYPE], body).status
        return status

    with ThreadPoolExecutor(len(lines)) as crowd:
        assert set(crowd.map(save, range(len(lines)))) == {303}
    page = own_site.json("/api/pages/crowd")
    assert page["text"] == "\n\n".join(f"changed by {number}" for number in range(8)) + "\n"
    assert page["revision"] == 9


def test_a_form_of_another_site_changes_nothing(site):
    site.post("/@@new-page", {"title": "Guarded", "text": "mine\n"})
    form = {"title": "Guarded", "text": "taken\n", "revision": "1"}
    for headers in (
        [("Origin", "http://elsewhere.example")],
        [("Origin", "null")],
        [("Referer", "http://elsewhere.example/form")],
    ):
        site.post("/guarded/@@edit", form, headers, status=403)
    assert site.text("guarded") == "mine\n"
    site.post("/guarded/@@edit", form, [("Origin", site.server.url(""))])
    assert site.text("guarded") == "taken\n"


def test_wrong_forms_are_told_so_and_store_nothing(site):
    before = site.json("/api/pages")
    for path, fields in (
        ("/@@new-page", {"title": "", "text": "x"}),
        ("/@@new-page", {"title": "!!!", "text": "x"}),
        ("/@@new-page", {"title": "Home", "text": "x"}),
        ("/@@new-page", {"title": "API", "text": "x"}),
        ("/@@new-page", {"title": "Long", "text": "x" * 200_001}),
        ("/@@new-page", [("title", "a"), ("title", "b"), ("text", "x")]),
        ("/@@new-folder", {"title": "Garden"}),
        ("/garden/@@delete", {}),
        ("/@@delete", {}),
        (f"{FERNS}/@@edit", {"title": "Ferns", "text": "x"}),
        (f"{FERNS}/@@edit", {"title": "Ferns", "text": "x", "revision": "2"}),
        (f"{FERNS}/@@edit", {"title": "Ferns", "text": "x", "revision": "9" * 5000}),
        (FERNS, {"title": "Ferns"}),
    ):
        site.post(path, fields, status=400)
    for path in (f"{FERNS}/@@history?revision=9", f"{FERNS}/@@history?revision=x", "/%C3%28"):
        assert site.server.get(path).status in (400, 404), path
    assert site.json("/api/pages") == before


def test_a_page_can_be_deleted_and_then_its_folder(site):
    site.post("/@@new-folder", {"title": "Attic"})
    site.post("/attic/@@new-page", {"title": "Old things", "text": "dusty"})
    site.post("/attic/@@delete", {}, status=400)
    site.post("/attic/old-things/@@delete", {})
    answer = site.post("/attic/@@delete", {})
    assert answer.header("Location").endswith("/?notice=deleted")
    site.get("/attic", 404)


# ---- The JSON interface ------------------------------------------------------------------


def test_the_api_lists_finds_makes_and_changes_pages_that_the_wiki_shows(site):
    paths = [page["path"] for page in site.json("/api/pages")["pages"]]
    assert {"garden/ferns", "garden/mosses", "home", "how-this-works"} <= set(paths)
    assert paths == sorted(paths)
    found = site.json("/api/pages?q=spores")["pages"]
    assert [page["title"] for page in found] == ["Ferns"]

    made = site.put("garden/newts", {"title": "Newts", "text": "Wet.\n", "author": "Ada"}, 201)
    assert made["revision"] == 1
    assert "<p>Wet.</p>" in site.get("/garden/newts").text
    changed = site.put("garden/newts", {"text": "Dry.\n", "revision": 1})
    assert (changed["revision"], changed["title"]) == (2, "Newts")
    assert "<p>Dry.</p>" in site.get("/garden/newts").text
    assert site.json(made["url"])["text"] == "Dry.\n"


def test_the_api_tells_both_texts_of_a_conflict(site):
    site.put("poem", {"text": "rose\n"}, 201)
    site.put("poem", {"text": "red rose\n", "revision": 1})
    answer = site.put("poem", {"text": "white rose\n", "revision": 1}, 409)
    assert answer["page"]["text"] == "red rose\n"
    assert "white rose" in answer["merged"]
    assert site.text("poem") == "red rose\n"


def test_the_api_refuses_what_is_wrong_in_json(site):
    for path, document, status in (
        ("home", b"{", 400),
        ("home", [], 400),
        ("home", {"text": 5, "revision": 1}, 400),
        ("home", {"text": "x", "revision": "1"}, 400),
        ("home", {"text": "x", "revision": True}, 400),
        ("home", {"text": "x"}, 428),
        ("home", {"text": "x", "revision": 2**70}, 409),
        ("home", {"title": "", "revision": 1}, 400),
        ("garden", {"text": "x"}, 409),
        ("no/folder/here", {"text": "x"}, 404),
        ("new", {"text": "x", "revision": 1}, 404),
        ("Not-A-Name", {"text": "x"}, 400),
        ("status", {"text": "x"}, 400),
    ):
        assert site.put(path, document, status)["error"], path
    assert site.json("/api/pages/nothing", 404)["error"] == "there is no page at nothing"
    assert site.json("/api/nothing", 404)["error"]
    assert site.json("/api/pages/garden", 404)["error"]


# ---- The database ------------------------------------------------------------------------


def test_what_was_written_is_in_the_database_when_the_server_is_gone(own_site):
    own_site.post("/@@new-page", {"title": "Kept", "text": "still here\n"})
    own_site.server.stop()
    program = (
        "import sys, ZODB, mod_pipeline.storage\n"
        "database = ZODB.DB(mod_pipeline.storage.open(sys.argv[1]))\n"
        "with database.transaction() as connection:\n"
        "    print(connection.root()['wiki']['kept'].text)\n"
        "database.close()\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, f"sqlite://{own_site.server.folder}/main"],
        env=environment.extension_environment()
        | {"PYTHONPATH": str(Path(environment.ROOT, "t", "apps"))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == "still here"
