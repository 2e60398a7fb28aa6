"""The page for people, driven in headless Chromium: every point of it, with every other host blocked."""

import base64
import csv
import io
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio", reason="needs the extra web, which make test-extras installs")
pytest.importorskip("playwright", reason="needs playwright, which make test-extras installs")
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

import alexnet
from alexnet.batches.preprocessing import Preprocessing
from alexnet.data.images.decode import open_image
from alexnet.data.prepare.prepare import prepare
from alexnet.data.sources.kinds import find_images
from alexnet.data.store.reader import open_store
from alexnet.interpretation.why import Method
from alexnet.network.alexnet import AlexNet, initialize
from alexnet.network.model_file import Model, save_model
from alexnet.network.rows import Convolution, Dense, Pool, Rectify, Spec
from alexnet.retrieval.index.images import choose_images
from alexnet.retrieval.index.reader import open_index
from alexnet.retrieval.index.writer import make_index
from alexnet.serving import answers as answering
from alexnet.serving.application import Options
from alexnet.serving.corrections import Corrections
from alexnet.serving.examples import choose_examples
from alexnet.serving.limits import Limits
from conftest import write_pictures
from serving.conftest import picture, serving

# Gradio counts its events with pandas, in a way that pandas will drop.
pytestmark = pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated")
CLASSES = ("ant", "bee", "cat")
TITLES = ("Ant <small>", "Bee", "Cat")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs chromium on the PATH (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


def two_towers() -> Spec:
    """The paper's five convolutions in two towers, in miniature."""
    relu = Rectify()
    layers = [
        Convolution(name="conv1", kernels=8, window_px=5, stride_px=2, then=(relu, Pool(window_px=2))),
        Convolution(name="conv2", kernels=8, window_px=3, padding_px=1, sees="own tower", then=(relu,)),
        Convolution(name="conv3", kernels=8, window_px=3, padding_px=1, then=(relu,)),
        Convolution(name="conv4", kernels=8, window_px=3, padding_px=1, sees="own tower", then=(relu,)),
        Convolution(name="conv5", kernels=8, window_px=3, padding_px=1, sees="own tower", then=(relu,)),
        Dense(name="fc6", units=16, then=(relu,)),
        Dense(name="fc7", units=len(CLASSES)),
    ]
    return Spec(dialect="two towers in miniature", input_px=25, layers=tuple(layers))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network of two towers that sees ten views, a store, and an index of its pictures."""
    folder = tmp_path_factory.mktemp("page")
    spec = two_towers()
    network = AlexNet(spec)
    initialize(network.named_layers(), seed=5, method="he")  # views disagree
    side = spec.input_px + 8
    preprocessing = Preprocessing(np.full((side, side, 3), 120, np.float32), 60.0)
    save_model(folder / "model.safetensors", Model(network, CLASSES, TITLES, preprocessing, {}))
    write_pictures(folder / "pictures" / "train", per_class=4, classes=CLASSES, seed=1)
    write_pictures(folder / "pictures" / "val", per_class=2, classes=CLASSES, seed=2)
    prepare(folder / "pictures", folder / "store", size=side)
    make_index(load(folder), choose_images([folder / "store"], ["train"]), folder / "index")
    for number in range(3):
        (folder / f"p{number}.png").write_bytes(picture(number))
    (folder / "no picture.txt").write_bytes(b"no picture")
    (folder / "<img src=x onerror=alert(1)> ${alert(2)} {{3}}.png").write_bytes(picture(9))
    return folder


def load(place: Path) -> Any:
    return alexnet.load(place / "model.safetensors", device="cpu", precision="float32")


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Any]:
    examples = choose_examples(open_store(place / "store"), load(place).model.preprocessing.image_px)
    corrections = Corrections(place / "corrections.csv")
    index = open_index(place / "index")
    with serving(
        load(place), options=Options(top=3), index=index, examples=examples, corrections=corrections
    ) as server:
        yield server


@contextmanager
def opened(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """A page of a new visitor; afterwards nothing was asked of another host and no error stood on its console."""
    own = url.split("/")[2]
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    others: list[str] = []
    problems: list[str] = []

    def guard(route: Any) -> None:
        if route.request.url.split("/")[2] == own:
            route.continue_()
        else:
            others.append(route.request.url)
            route.abort()

    context.route(re.compile("^(https?|wss?):"), guard)
    page = context.new_page()
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda problem: problems.append(str(problem)))
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    page.goto(url)
    expect(page.locator(".zone")).to_be_visible(timeout=60_000)
    yield page
    context.close()
    assert others == []
    assert problems == []


@pytest.fixture
def page(browser: Browser, server: Any) -> Iterator[Page]:
    with opened(browser, server.address.url) as page:
        yield page


def choose(page: Page, *files: Path) -> None:
    page.set_input_files(".target input", [str(file) for file in files])


def await_all(page: Page) -> None:
    """Wait until everything about the shown picture is there."""
    expect(page.locator(".answer .views")).to_be_visible(timeout=30_000)
    expect(page.locator(".answer .waiting")).to_have_count(0, timeout=30_000)


def test_a_chosen_picture_gets_its_classes_with_bars(page: Page, place: Path) -> None:
    expect(page.locator(".lead")).to_contain_text("3 classes, network ")
    choose(page, place / "p0.png")
    await_all(page)
    (expected,) = load(place).predict([place / "p0.png"])
    titles = dict(zip(CLASSES, TITLES, strict=True))
    expect(page.locator(".answer h2")).to_have_text(titles[expected.top(1)[0][0]])
    rows = page.locator(".bars button")
    for number, (name, probability) in enumerate(expected.top(3)):
        expect(rows.nth(number).locator(".name")).to_have_text(titles[name])
        expect(rows.nth(number).locator(".number")).to_have_text(f"{100 * probability:.1f} %")
    expect(page.locator(".answer .kicker")).to_have_text("p0.png")


def test_why_is_shown_for_the_class_that_is_chosen_also_by_the_keyboard(page: Page, place: Path) -> None:
    choose(page, place / "p0.png")
    await_all(page)
    second = page.locator(".bars button").nth(1)
    title = second.locator(".name").inner_text()
    before = page.locator(".pair img").nth(1).get_attribute("src")
    second.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".answer h3").first).to_have_text(f"Why {title}?")
    expect(second).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_alt_text(f"Where {title} is decided")).to_be_visible()
    await_all(page)
    assert page.locator(".pair img").nth(1).get_attribute("src") != before
    expect(page.locator(".pair figcaption").nth(1)).to_have_text("Bright where a pixel moves its score most")
    assert page.locator(".methods button").all_inner_texts() == ["gradient", "cam", "occlusion"]
    expect(second).to_be_focused()


def test_the_views_are_shown_and_those_that_disagree_are_marked(page: Page, server: Any, place: Path) -> None:
    for seed in range(200):
        (place / "views.png").write_bytes(picture(seed))
        pixels = server.service._decode(answering_upload(place / "views.png"))
        (each,) = server.service.answers.view_probabilities([pixels], 10)
        best, overall = each.argmax(1), int(each.mean(0).argmax())
        if (best != overall).any():
            break
    choose(page, place / "views.png")
    await_all(page)
    views = page.locator(".views li")
    assert len(each) == views.count() == 10
    assert [view.split("\n")[0] for view in views.all_inner_texts()][:3] == ["top left", "top right", "centre"]
    for number, label in enumerate(best):
        expect(views.nth(number).locator(".title")).to_contain_text(TITLES[label])
        expect(views.nth(number).locator(".mark")).to_have_count(int(label != overall))
    assert (best != overall).any()


def answering_upload(path: Path) -> Any:
    from alexnet.serving.uploads import Upload

    return Upload(path.name, path.read_bytes())


def test_what_is_alike_comes_from_the_index(page: Page, server: Any, place: Path) -> None:
    choose(page, place / "p1.png")
    await_all(page)
    pixels = server.service._decode(answering_upload(place / "p1.png"))
    (hits,) = server.service.answers.neighbors([pixels], 6)
    alike = page.locator(".alike li")
    expect(alike).to_have_count(6)
    for number, hit in enumerate(hits):
        expect(alike.nth(number).locator(".number")).to_have_text(f"{hit.distance:#.3g}".rstrip("."))
        expect(alike.nth(number).locator(".title")).to_have_text(hit.entry.title or "")


def test_layers_are_shown_on_demand_tower_by_tower(page: Page, place: Path) -> None:
    choose(page, place / "p0.png")
    await_all(page)
    expect(page.locator(".plates")).to_have_count(0)
    for layer in ("conv1", "conv2", "conv3", "conv4", "conv5"):
        if f"{layer}.relu" not in load(place).network.activation_names():
            continue
        page.select_option("#layer", f"{layer}.relu")
        expect(page.get_by_alt_text(f"{layer}.relu, tower a")).to_be_visible()
        expect(page.get_by_alt_text(f"{layer}.relu, tower b")).to_be_visible()


def test_several_pictures_become_a_table_to_download(page: Page, place: Path) -> None:
    names = ["p0.png", "no picture.txt", "<img src=x onerror=alert(1)> ${alert(2)} {{3}}.png"]
    choose(page, *(place / name for name in names))
    await_all(page)
    expect(page.locator(".list tbody tr")).to_have_count(3)
    assert page.locator(".list td button span").all_inner_texts() == list(reversed(names))
    expect(page.locator(".list tbody tr").nth(1)).to_contain_text("not a picture")
    with page.expect_download() as download:
        page.click("text=Download as CSV")
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
    assert [row["name"] for row in rows] == names
    assert rows[1]["error"].startswith("no picture.txt: is not an image of a known format (10 bytes).")
    expected = load(place).predict([place / names[2]])[0].top(1)[0]
    assert (rows[2]["class_1"], float(rows[2]["probability_1"])) == (expected[0], pytest.approx(expected[1], abs=1e-5))
    page.click(".list td button >> nth=0")
    expect(page.locator(".answer .kicker")).to_have_text(names[2])
    page.click(".list td button >> nth=1")
    expect(page.locator(".problem")).to_contain_text("no picture.txt: is not an image of a known format")


def test_pictures_may_be_dropped_pasted_and_photographed(page: Page) -> None:
    data = base64.b64encode(picture(5)).decode()
    give = """([kind, data]) => {
        const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0)), transfer = new DataTransfer()
        transfer.items.add(new File([bytes], kind + 'ed.png', { type: 'image/png' }))
        const target = kind === 'dropp' ? document.querySelector('.zone') : document
        const event = kind === 'dropp' ? new DragEvent('drop', { dataTransfer: transfer, bubbles: true })
            : new ClipboardEvent('paste', { clipboardData: transfer })
        target.dispatchEvent(event)
    }"""
    for kind in ("dropp", "past"):
        page.evaluate(give, [kind, data])
        expect(page.locator(".answer .kicker")).to_have_text(f"{kind}ed.png", timeout=30_000)
    page.click("text=Photograph")
    expect(page.locator("dialog video")).to_be_visible()
    page.wait_for_function("document.querySelector('dialog video').videoWidth > 0")
    page.click("text=Take the picture")
    expect(page.locator(".answer .kicker")).to_have_text("photograph.jpg", timeout=30_000)


def test_examples_come_from_the_store_and_say_what_they_really_are(page: Page, place: Path) -> None:
    examples = page.locator("#examples button")
    expect(examples).to_have_count(6)
    store = open_store(place / "store")
    for number in (0, 1):
        examples.nth(number).click()
        label = int(store["val"].labels[[0, 2][number]])
        expected = load(place).predict([np.array(store["val"].images[[0, 2][number]])])[0].top(1)[0][0]
        said = "That is right." if CLASSES[label] == expected else f"It is really {store.class_titles[label]}."
        expect(page.locator(".sure")).to_contain_text(said, timeout=30_000)
        await_all(page)


def test_a_correction_is_a_row_that_prepare_reads(page: Page, place: Path) -> None:
    choose(page, place / "p2.png")
    await_all(page)
    for said in ("Bee", "wasp", "Bee"):
        page.fill("#label", said)
        page.click("text=Note it")
        expect(page.locator(".note")).to_have_text(f"Noted: it is {said}.")
    choose(page, place / "p1.png")
    expect(page.locator(".answer .kicker")).to_have_text("p1.png")
    await_all(page)
    page.fill("#label", "new class")
    page.press("#label", "Enter")
    expect(page.locator(".note")).to_have_text("Noted: it is new class.")
    source = find_images(place / "corrections.csv", val_fraction=0.5)
    assert sorted(source.class_names) == ["bee", "new class"]
    rows = list(csv.DictReader((place / "corrections.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["label"], row["name"]) for row in rows] == [("bee", "p2.png"), ("new class", "p1.png")]
    kept = open_image(place / rows[0]["path"], size=load(place).model.preprocessing.image_px)
    np.testing.assert_array_equal(kept, open_image(place / "p2.png", size=len(kept)))


def test_an_answer_that_arrives_late_stands_under_no_other_picture(
    page: Page, server: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, go_on, begun = server.service, threading.Event(), threading.Event()
    decode = type(service).decode

    async def slow_for_the_first(self: Any, upload: Any) -> Any:
        if upload.name == "p0.png":
            import asyncio

            begun.set()
            while not go_on.is_set():
                await asyncio.sleep(0.01)
        return await decode(self, upload)

    monkeypatch.setattr(type(service), "decode", slow_for_the_first)
    choose(page, place / "p0.png")
    while not begun.is_set():
        page.wait_for_timeout(10)
    choose(page, place / "p1.png")
    expect(page.locator(".answer .kicker")).to_have_text("p1.png", timeout=30_000)
    await_all(page)
    go_on.set()
    expect(page.locator(".list tbody tr")).to_have_count(2, timeout=30_000)
    (expected,) = load(place).predict([place / "p1.png"])
    expect(page.locator(".answer .kicker")).to_have_text("p1.png")
    expect(page.locator(".answer h2")).to_have_text(dict(zip(CLASSES, TITLES, strict=True))[expected.top(1)[0][0]])


def test_a_file_over_the_limit_is_told_before_it_is_sent(browser: Browser, place: Path) -> None:
    with serving(load(place), limits=Limits(max_bytes=100_000)) as server, opened(browser, server.address.url) as page:
        (place / "large.png").write_bytes(bytes(50_000))
        choose(page, place / "large.png")
        expect(page.locator(".said")).to_have_text(
            "large.png has 50,000 bytes; at most 9,464 are accepted. Save a smaller copy of it."
        )


def test_every_method_that_is_known_is_offered(page: Page, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def corner(classifier: Any, images: Any, classes: Any, *, tick: Any = None) -> Any:
        maps = np.zeros((len(images), *[classifier.network.spec.input_px] * 2), np.float32)
        maps[:, :3, :3] = 1
        return maps

    methods = {**answering.WHY, "corner": Method(corner, "images", "the corner", "there is a corner")}
    monkeypatch.setattr(answering, "WHY", methods)
    monkeypatch.setattr("alexnet.serving.inspection.WHY", methods)
    monkeypatch.setattr("alexnet.serving.markup.WHY", methods)
    choose(page, place / "p0.png")
    await_all(page)
    before = page.locator(".pair img").nth(1).get_attribute("src")
    page.click(".methods >> text=corner")
    expect(page.locator(".methods >> text=corner")).to_have_attribute("aria-pressed", "true")
    await_all(page)
    assert page.locator(".pair img").nth(1).get_attribute("src") != before
    expect(page.locator(".pair figcaption").nth(1)).to_have_text("Bright where there is a corner")
    assert page.locator(".methods button").all_inner_texts() == ["gradient", "cam", "occlusion", "corner"]


@pytest.mark.parametrize(
    "options",
    [{}, {"color_scheme": "dark"}, {"viewport": {"width": 390, "height": 844}}],
    ids=["light", "dark", "phone"],
)
def test_it_is_readable_for_everyone(browser: Browser, server: Any, place: Path, options: Any) -> None:
    with opened(browser, server.address.url, **options) as page:
        states: list[Callable[[], None]] = [
            lambda: None,
            lambda: choose(page, place / "p0.png"),
            lambda: choose(page, place / "p1.png", place / "no picture.txt"),
        ]
        for number, reach in enumerate(states):
            reach()
            if number:
                expect(page.locator(".answer .kicker")).to_have_text(f"p{number - 1}.png", timeout=30_000)
                await_all(page)
                page.select_option("#layer", "conv1.relu")
                expect(page.locator(".plates")).to_be_visible()
            found = Axe().run(page).response["violations"]
            serious = [each for each in found if each["impact"] in ("serious", "critical")]
            assert [(each["id"], each["nodes"][0]["html"]) for each in serious] == []
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= page.viewport_size["width"]  # type: ignore[index]


def test_with_a_key_the_browser_asks_for_it(browser: Browser, place: Path) -> None:
    with serving(load(place), options=Options(api_key="k")) as server:
        credentials = {"username": "anyone", "password": "k"}
        with opened(browser, server.address.url, http_credentials=credentials) as page:
            choose(page, place / "p0.png")
            await_all(page)


def test_below_a_prefix_it_works_as_well(browser: Browser, place: Path) -> None:
    with (
        serving(load(place), options=Options(root_path="/net")) as server,
        opened(browser, f"{server.address.url}net/") as page,
    ):
        choose(page, place / "p0.png")
        await_all(page)
        page.click("text=how to ask")
        expect(page.locator(".swagger-ui .info")).to_be_visible(timeout=30_000)
        expect(page.locator("text=/predict").first).to_be_visible()
        assert page.url == f"{server.address.url}net/docs"
