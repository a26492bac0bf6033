"""The page in a browser: with the mouse, with the keyboard, on a phone; silent, and asking nothing of anybody else."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from serving import Patient, encoded, picture, post, server, write_model, write_several

from stylization.serve import Model
from stylization.serve.models import load_models

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]
NAMES = ["waves-instance", "ink-batch", "ink-none"]
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *CAMERA])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    folder = tmp_path_factory.mktemp("models")
    written = [
        write_model(folder / f"{number}.safetensors", *name.split("-"), number) for number, name in enumerate(NAMES)
    ]
    return load_models(written, "cpu")


@pytest.fixture(scope="module")
def address(models: dict[str, Model]) -> Iterator[str]:
    with server(models) as served:
        yield served


@pytest.fixture(scope="module")
def mixing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of a model of three styles and of one of one."""
    folder = tmp_path_factory.mktemp("mixing")
    several = write_several(folder / "several.safetensors", ["ink", "stained_glass", "waves"])
    with server(load_models([several, write_model(folder / "one.safetensors", "ink")], "cpu")) as served:
        yield served


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "my photo.jpg"
    path.write_bytes(encoded(picture((1600, 1200)), quality=90))
    return path


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open the page; at the end nothing has been said on its console, and nobody else has been asked for anything."""
    pages, said, asked = [], [], []

    def open_page(address: str, silent: bool = True, **options: Any) -> Any:
        page = browser.new_context(permissions=["camera"], **options).new_page()
        pages.append(page)
        if silent:
            page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append((address, request.url)))
        page.goto(address)
        return page

    yield open_page
    for page in pages:
        page.context.close()
    assert said == []
    assert asked and all(url.startswith((address, f"blob:{address}", "data:,")) for address, url in asked)


def settled(page: Any) -> None:
    """All views show their stylizations."""
    page.wait_for_selector(".stylized:not([hidden])", timeout=20_000)
    playwright.expect(page.locator(".progress:visible")).to_have_count(0, timeout=20_000)
    page.wait_for_timeout(1000)  # the photograph is drawn over


def saved(page: Any, act: Callable[[], None]) -> tuple[str, bytes]:
    with page.expect_download() as download:
        act()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def test_upload_choose_slide_download(opened: Callable[..., Any], address: str, photo: Path) -> None:
    page = opened(address, viewport={"width": 1400, "height": 900})
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a picture").first.click()
    chooser.value.set_files(photo)
    settled(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    box = page.locator(".canvas").bounding_box()
    assert box["width"] > 800 and box["width"] / box["height"] == pytest.approx(4 / 3, 0.01)
    page.mouse.move(box["x"] + 5, box["y"] + 99)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 99)
    page.mouse.up()
    assert page.locator(".split").input_value() == "40"
    assert page.locator(".stylized").evaluate("image => getComputedStyle(image).clipPath") == "inset(0px 0px 0px 40%)"
    page.get_by_label("Strength").fill("60")
    assert page.locator(".stylized").evaluate("image => getComputedStyle(image).opacity") == "0.6"
    assert asked == []  # neither needs the server
    page.get_by_role("radio", name="ink batch norm").check()
    page.get_by_role("radio", name="Luminance").check()
    page.get_by_label("Strokes").fill("3")
    settled(page)
    name, content = saved(page, page.get_by_role("button", name="Download").click)
    assert name == "my photo-ink-batch.jpg"
    with httpx.Client(base_url=address, timeout=60) as client:
        fields = {"strength": 0.6, "keep_colors": "luminance", "scale": 1.5}
        assert content == post(client, photo.read_bytes(), **fields).content


def test_keyboard_alone_suffices(opened: Callable[..., Any], address: str, photo: Path) -> None:
    page = opened(address, viewport={"width": 1400, "height": 900})
    stops: list[str] = []

    def tab_to(name: str) -> None:
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.locator(":focus").count() == 0:
                continue  # behind the last stop: the browser's own
            stops.append(page.locator(":focus").aria_snapshot())
            if name in stops[-1]:
                return
        raise AssertionError(f"no way to {name}: {stops}")

    tab_to("Choose a picture")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(photo)
    settled(page)
    assert page.locator(":focus").evaluate("stop => getComputedStyle(stop).outlineStyle") == "solid"
    tab_to("Photograph beside waves")
    page.keyboard.press("End")
    assert page.locator(".split").get_attribute("aria-valuetext") == "100 % photograph"
    tab_to("Download")
    tab_to("Compare")
    tab_to("waves instance norm")
    page.keyboard.press("ArrowRight")
    settled(page)
    assert page.locator(".view").get_attribute("data-model") == "ink-batch"
    outlined = page.locator("[name=model]:focus + img").evaluate("image => getComputedStyle(image).outlineStyle")
    assert outlined == "solid"
    tab_to("Strength")
    page.keyboard.press("Home")
    assert page.locator("output[for=strength]").text_content() == "0 %"
    tab_to("Strokes")
    tab_to("None")
    page.keyboard.press("ArrowRight")
    settled(page)
    tab_to("Download")
    name, content = saved(page, lambda: page.keyboard.press("Enter"))
    assert name == "my photo-ink-batch.jpg" and content
    assert all('"' in stop for stop in stops if stop.startswith("- ")), stops  # every stop has a name


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1400, 900), (390, 844)])
def test_models_are_compared_side_by_side_on_screens_of_every_size(
    opened: Callable[..., Any], address: str, photo: Path, width: int, height: int, scheme: str, tmp_path: Path
) -> None:
    page = opened(address, viewport={"width": width, "height": height}, color_scheme=scheme)
    page.set_input_files("#file", photo)
    settled(page)
    page.get_by_role("switch", name="Compare").check()
    settled(page)
    assert page.locator(".view").evaluate_all("views => views.map(view => view.dataset.model)") == NAMES
    page.get_by_role("checkbox", name="ink no norm").uncheck()
    playwright.expect(page.locator(".view")).to_have_count(2)
    page.locator(".split").first.fill("30")
    assert page.locator(".split").evaluate_all("splits => splits.map(split => split.value)") == ["30", "30"]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) > 600) == (scheme == "light")
    page.get_by_role("switch", name="Compare").uncheck()
    playwright.expect(page.locator(".view")).to_have_count(1)


@pytest.mark.parametrize("width", [1400, 390])
def test_styles_are_mixed_by_sliders_and_the_keyboard(
    opened: Callable[..., Any], mixing: str, photo: Path, width: int
) -> None:
    page = opened(mixing, viewport={"width": width, "height": 844})
    page.set_input_files("#file", photo)
    settled(page)
    page.get_by_role("radio", name="stained glass").check()
    page.get_by_role("switch", name="Mix").focus()
    page.keyboard.press("Space")
    sliders = page.locator("#shares input")
    assert sliders.evaluate_all("sliders => sliders.map(slider => slider.value)") == ["0", "20", "0"]
    page.keyboard.press("Tab")
    assert page.locator(":focus").get_attribute("name") == "ink"
    with page.expect_request("**/stylize"):
        page.keyboard.press("PageUp")
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    settled(page)
    assert page.locator(".what b").text_content() == "stained glass 67 %, ink 33 %"
    assert page.get_by_role("slider", name="ink", exact=True).get_attribute("aria-valuetext") == "33 %"
    page.get_by_label("Strength").fill("50")
    settled(page)
    assert page.locator(".stylized").evaluate("image => getComputedStyle(image).opacity") == "1"  # it comes as strong
    name, content = saved(page, page.get_by_role("button", name="Download").click)
    assert name == "my photo-stained_glass-67-ink-33.jpg"
    with httpx.Client(base_url=mixing, timeout=60) as client:
        fields = {"model": "ink", "mix": "ink=0.3333,stained_glass=0.6667", "strength": 0.5}
        assert content == post(client, photo.read_bytes(), **fields).content
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_mixture_is_never_nothing_and_ends_with_another_choice(
    opened: Callable[..., Any], mixing: str, photo: Path
) -> None:
    page = opened(mixing)
    page.set_input_files("#file", photo)
    page.get_by_role("switch", name="Mix").check()
    page.get_by_role("slider", name="ink", exact=True).fill("0")
    settled(page)
    assert page.locator(".what b").text_content() == "ink"
    page.get_by_role("slider", name="waves", exact=True).fill("20")
    page.get_by_role("slider", name="ink", exact=True).fill("0")
    settled(page)
    assert page.locator(".what b").text_content() == "waves"
    page.get_by_role("radio", name="stained glass").check()
    settled(page)
    assert page.locator("#shares output").all_text_contents() == ["0 %", "100 %", "0 %"]
    page.get_by_role("radio", name="ink instance norm").check()
    playwright.expect(page.get_by_role("switch", name="Mix")).to_be_hidden()
    settled(page)
    assert page.locator(".what").text_content().strip() == "ink instance norm"
    page.get_by_role("switch", name="Compare").check()
    playwright.expect(page.get_by_role("switch", name="Mix")).to_be_hidden()


def test_what_is_overtaken_is_no_longer_asked_for(
    opened: Callable[..., Any], models: dict[str, Model], photo: Path
) -> None:
    patient = Patient()
    slow = {name: Model(patient, model.facts) for name, model in models.items()}
    with server(slow) as address:
        page = opened(address)
        with page.expect_request("**/stylize"):
            page.set_input_files("#file", photo)
        for name in ("ink batch norm", "ink no norm"):
            with page.expect_event("requestfailed") as failed:
                page.get_by_role("radio", name=name).check()
            assert failed.value.failure == "net::ERR_ABORTED"
        patient.may_end.set()
        settled(page)
        assert page.locator(".view").get_attribute("data-model") == "ink-none" and patient.num_begun == 2


def test_pictures_come_by_paste_drop_camera_and_sample(opened: Callable[..., Any], address: str) -> None:
    page = opened(address)
    page.get_by_role("button", name="Try the sample").click()
    settled(page)
    assert page.locator(".photograph").evaluate("image => image.naturalWidth") == 600
    give = """async ([kind, holder]) => {
      const canvas = Object.assign(document.createElement("canvas"), {width: 320, height: 200});
      canvas.getContext("2d").fillRect(0, 0, 99, 99);
      const data = new DataTransfer();
      data.items.add(new File([await new Promise((done) => canvas.toBlob(done))], "drawn.png"));
      dispatchEvent(Object.assign(new Event(kind, {cancelable: true}), {[holder]: data}));
    }"""
    for kind, holder in (("paste", "clipboardData"), ("drop", "dataTransfer")):
        page.evaluate(give, [kind, holder])
        page.wait_for_timeout(300)
        settled(page)
        assert page.locator(".photograph").evaluate("image => image.naturalWidth") == 320
    page.get_by_role("button", name="Camera").click()
    playwright.expect(page.get_by_role("dialog")).to_be_visible()
    page.wait_for_timeout(1000)
    page.get_by_role("button", name="Take the picture").click()
    page.wait_for_timeout(300)
    settled(page)
    assert page.locator(".photograph").evaluate("image => image.naturalWidth") > 320


def test_a_picture_that_only_the_server_reads_is_shown_and_one_that_nobody_reads_is_told(
    opened: Callable[..., Any], address: str, tmp_path: Path
) -> None:
    page = opened(address, silent=False)
    picture((320, 200)).save(tmp_path / "photo.tif")
    page.set_input_files("#file", tmp_path / "photo.tif")
    settled(page)
    name, content = saved(page, page.get_by_role("button", name="Download").click)
    (tmp_path / name).write_bytes(content)
    assert name.endswith(".png") and Image.open(tmp_path / name).size == (320, 200)
    (tmp_path / "bad.jpg").write_text("no picture")
    page.set_input_files("#file", tmp_path / "bad.jpg")
    playwright.expect(page.get_by_role("alert")).to_contain_text("not a picture")
    playwright.expect(page.locator(".view")).to_have_count(1)  # the one before is still there
