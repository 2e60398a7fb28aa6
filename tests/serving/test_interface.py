"""What programs get from alexnet serve."""

import base64
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio", reason="needs the extra web, which make test-extras installs")

from click.testing import CliRunner

import alexnet
from alexnet.cli import cli
from alexnet.errors import ConfigError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.ensemble import Ensemble, load_ensemble, save_ensemble
from alexnet.network.confidence import Rejection
from alexnet.retrieval.index.images import choose_images
from alexnet.retrieval.index.reader import open_index
from alexnet.retrieval.index.writer import make_index
from alexnet.serving.answers import Answers
from alexnet.serving.application import Options
from alexnet.serving.limits import Limits
from alexnet.serving.markup import Markup
from alexnet.serving.server import open_socket
from alexnet.serving.visit import Picture, Visit
from conftest import write_pictures
from serving.conftest import Address, ask, form, picture, serving


def bests(image: dict[str, Any]) -> list[tuple[str, float]]:
    return [(each["name"], each["probability"]) for each in image["top"]]


@pytest.fixture
def expected(load: Callable[[], Any], tmp_path: Path) -> Callable[..., list[tuple[str, float]]]:
    """The classes that predict gives for the bytes of a file."""

    def predict(data: bytes, views: int = 1, top: int = 2) -> list[tuple[str, float]]:
        (tmp_path / "picture").write_bytes(data)
        return list(load().predict([tmp_path / "picture"], views=views)[0].top(top))

    return predict


def test_bytes_a_form_and_json_get_the_probabilities_that_predict_gives(address: Address, expected: Any) -> None:
    data, other = picture(), picture(1, "JPEG")
    raw = ask(address, "POST", "/predict", data)
    assert (raw.status, raw.headers["Content-Type"]) == (200, "application/json")
    assert (raw.json["model"], raw.json["views"]) == ("model.safetensors", 1)
    (image,) = raw.json["images"]
    assert bests(image) == expected(data)
    assert (image["name"], image["class"], image["title"]) == ("the picture", *[expected(data)[0][0]] * 2)
    assert image["probability"] == expected(data)[0][1]
    body, kind = form(("a.png", data), ("b.jpg", other))
    images = ask(address, "POST", "/predict", body, Content_Type=kind).json["images"]
    assert [image["name"] for image in images] == ["a.png", "b.jpg"]
    for image, bytes_ in zip(images, (data, other), strict=True):
        assert [name for name, _ in bests(image)] == [name for name, _ in expected(bytes_)]
        assert [value for _, value in bests(image)] == pytest.approx([value for _, value in expected(bytes_)], abs=1e-6)
    as_json = json.dumps({"images": [{"name": "a.png", "base64": base64.b64encode(data).decode()}]}).encode()
    (image,) = ask(address, "POST", "/predict", as_json, Content_Type="application/json").json["images"]
    assert (image["name"], bests(image)) == ("a.png", expected(data))


def test_a_request_may_ask_for_other_views_and_more_classes(address: Address, expected: Any) -> None:
    answer = ask(address, "POST", "/predict?views=10&top=9", picture()).json
    assert answer["views"] == 10
    assert [value for _, value in bests(answer["images"][0])] == pytest.approx(
        [value for _, value in expected(picture(), 10, 3)], abs=1e-6
    )


def test_an_unknown_picture_is_said_to_be_one_with_its_distance_and_the_least_unlike_class(
    load: Callable[[], Any], expected: Any
) -> None:
    classifier = load()
    means = np.random.default_rng(0).normal(size=(3, classifier.network.num_features)).astype(np.float32)
    for threshold in (1e-9, 2.0):
        rejection = Rejection(means, {1: threshold, 10: threshold}, 0.05)
        model = replace(classifier.model, rejection=rejection, temperatures={1: 2.0, 10: 3.0})
        rejecting = Classifier(model, classifier.path, device="cpu", precision="float32")
        with serving(rejecting) as server:
            (image,) = ask(server.address, "POST", "/predict", picture()).json["images"]
        (prediction,) = rejecting.predict(picture())
        assert image["unknown"] is (threshold < 2)
        assert image["distance"] == pytest.approx(prediction.distance)
        assert image["class"] == expected(picture())[0][0]
        shown = Picture(
            1, "a.png", np.zeros((32, 32, 3), np.uint8), answer=server.service.answers.describe(prediction, 2)
        )
        shown.chosen = image["class"]
        markup = Markup(server.service.answers, takes_corrections=False)
        html = markup.write_result(shown)
        assert f"<h2>{'Unknown' if threshold < 2 else image['title']}</h2>" in html
        assert (f"the nearest is at distance {image['distance']:.3f}." in html) == (threshold < 2)
        table = markup.write_table(Visit([shown, shown]))
        assert ('<td>unknown</td><td class="number">–</td>' in table) == (threshold < 2)
        encoded = re.findall("csv;base64,([A-Za-z0-9+/=]+)", table)[0]
        for line in base64.b64decode(encoded).decode().splitlines()[1:]:
            assert line.startswith(f"a.png,,{threshold < 2},{prediction.distance}")
    calibrated = Answers(rejecting, calibrated=True)
    pixels = np.zeros((32, 32, 3), np.uint8)
    for views in (1, 10):
        (found,) = calibrated.predict([pixels], views)
        np.testing.assert_array_equal(
            found.probabilities, rejecting.predict(pixels, views=views, calibrated=True)[0].probabilities
        )
    with pytest.raises(ConfigError, match="has no temperature"):
        Answers(classifier, calibrated=True)


def test_one_bad_file_does_not_spoil_the_others(address: Address, expected: Any) -> None:
    body, kind = form(("bad.txt", b"no picture"), ("good.png", picture()))
    answer = ask(address, "POST", "/predict", body, Content_Type=kind)
    bad, good = answer.json["images"]
    assert answer.status == 200
    assert bad["error"].startswith("bad.txt: is not an image of a known format (10 bytes).")
    assert bests(good) == expected(picture())
    images = [{"name": "x", "base64": "*"}, {"name": "y", "base64": base64.b64encode(picture()).decode()}]
    answer = ask(address, "POST", "/predict", json.dumps({"images": images}).encode(), Content_Type="application/json")
    assert answer.json["images"][0] == {"name": "x", "error": "x: is not base64. Encode the bytes of the file."}
    assert bests(answer.json["images"][1]) == expected(picture())


@pytest.mark.parametrize(
    ("path", "body", "kind", "status", "sentence"),
    [
        ("/predict", b"not a picture", "", 400, r"the picture: is not an image of a known format \(13 bytes\)\. Known"),
        ("/predict", b"", "", 400, r"the picture: is empty \(0 bytes\)\."),
        ("/predict", picture()[:200], "", 400, r"the picture: .+ Copy it again from where it came\."),
        ("/predict", b"{}", "application/json", 400, r"the JSON is not of the form \{\"images\": \[\{\"name\""),
        ("/predict", b'{"images": [1]}', "application/json", 400, r"the JSON is not of the form"),
        ("/predict", b"[" * 100_000, "application/json", 400, r"the JSON is not of the form"),
        ("/predict", b'{"images": []}', "application/json", 400, r"the request holds no file\."),
        ("/predict", b"--edge--\r\n", "multipart/form-data; boundary=edge", 400, r"the request holds no file\."),
        ("/predict", b"nonsense", "multipart/form-data; boundary=edge", 400, r"the form cannot be read"),
        (
            "/predict",
            b"",
            "multipart/form-data",
            400,
            r"the form cannot be read \(Missing boundary in multipart\)\. Send it again\.",
        ),
        ("/predict?views=3", picture(), "", 400, r"views is 3; accepted are 1, 9, 10\."),
        ("/predict?views=x", picture(), "", 400, r"views is 'x': .+\. See /docs\."),
        ("/predict?top=0", picture(), "", 400, r"top is 0; accepted is 1 or more\."),
        ("/features?layer=conv9", picture(), "", 400, r"unknown activation 'conv9'\. Known: conv1, conv1\.relu"),
    ],
)
def test_a_bad_request_is_told_what_to_do(
    address: Address, path: str, body: bytes, kind: str, status: int, sentence: str
) -> None:
    answer = ask(address, "POST", path, body, **({"Content_Type": kind} if kind else {}))
    assert answer.status == status
    assert re.match(sentence, answer.json["error"]), answer.json
    assert ask(address, "POST", "/predict", picture()).status == 200  # it goes on


def test_limits_are_told_before_the_body_is_read_where_its_length_says_so(load: Any) -> None:
    limits = Limits(max_bytes=20_000, max_pixels=1999, max_files=2)
    with serving(load(), limits=limits) as server:
        told = ask(server.address, "POST", "/predict", Content_Length="20001")  # none of which is ever sent
        assert told.status == 413
        assert (
            told.json["error"]
            == "the request has 20,001 bytes; at most 20,000 are accepted. Send fewer or smaller pictures."
        )
        assert ask(server.address, "POST", "/predict", bytes(20_000)).status == 400
        large = ask(
            server.address, "POST", "/predict", bytes(3_000_000)
        )  # a client that sends everything gets to read it
        assert (large.status, large.json["error"][:33]) == (413, "the request has 3,000,000 bytes; ")
        body, kind = form(*[("a", picture())] * 3)
        many = ask(server.address, "POST", "/predict", body, Content_Type=kind)
        assert many.status == 413
        assert many.json["error"] == "the request holds more than 2 files. Send them in several requests."
        pixels = ask(server.address, "POST", "/predict", picture())
        assert pixels.status == 400
        assert "has more than 1,999 pixels" in pixels.json["error"]


def test_a_body_without_a_length_is_refused_when_it_has_become_too_large(load: Any) -> None:
    import http.client

    with serving(load(), limits=Limits(max_bytes=20_000)) as server:
        connection = http.client.HTTPConnection(*server.address, timeout=30)
        connection.request("POST", "/predict", iter([bytes(15_000)] * 2), encode_chunked=True)
        answer = connection.getresponse()
        assert answer.status == 413
        assert json.loads(answer.read())["error"].startswith("the request has more than 20,000 bytes;")
        connection.close()


def test_features_are_those_of_the_model(address: Address, load: Any, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    layer = load().network.features_name()
    for query, name in (("", layer), ("?layer=conv1.pool", "conv1.pool")):
        answer = ask(address, "POST", f"/features{query}", picture()).json
        values = load().activations([tmp_path / "a.png"], [name])[name]
        assert (answer["layer"], answer["shape"]) == (name, list(values.shape[1:]))
        np.testing.assert_allclose(answer["images"][0]["features"], values.ravel(), rtol=1e-5, atol=1e-6)


def test_neighbours_come_from_an_index(load: Any, tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", per_class=3, classes=("ant", "bee"))
    make_index(load(), choose_images([tmp_path / "photos"]), tmp_path / "index")
    one = sorted((tmp_path / "photos").rglob("*.png"))[4]
    with serving(load(), index=open_index(tmp_path / "index")) as server:
        assert ask(server.address, "GET", "/neighbours").status == 405
        assert "/features, /neighbours, /health" in ask(server.address, "GET", "/nothing").json["error"]
        answer = ask(server.address, "POST", "/neighbours?k=2", one.read_bytes())
        all_of_them = ask(server.address, "POST", "/neighbours?k=50", one.read_bytes())
        assert (
            ask(server.address, "POST", "/neighbours?k=101", picture()).json["error"]
            == "k is 101; accepted is 1 to 100."
        )
    nearest, second = answer.json["images"][0]["neighbours"]
    assert nearest == {
        "path": str(one),
        "split": None,
        "class": "bee",
        "title": "bee",
        "distance": 0.0,
        "problem": None,
    }
    assert second["distance"] > 0
    assert len(all_of_them.json["images"][0]["neighbours"]) == 6


def test_without_an_index_there_are_no_neighbours(address: Address) -> None:
    sentence = "there is no /neighbours. It needs an index of pictures: start the server with --index INDEX."
    for method in ("GET", "POST"):
        answer = ask(address, method, "/neighbours", picture() if method == "POST" else b"")
        assert (answer.status, answer.json) == (404, {"error": sentence})
    known = "/predict, /features, /health, /ready, /metrics, /docs, /openapi.json"
    assert ask(address, "GET", "/nothing").json == {"error": f"there is no /nothing. Known: / and {known}."}


def test_health_readiness_and_counters(load: Any) -> None:
    with serving(load()) as server:
        assert ask(server.address, "GET", "/health").json == {"status": "ok"}
        assert ask(server.address, "GET", "/ready").json == {
            "status": "ready",
            "model": "model.safetensors",
            "classes": 3,
        }
        body, kind = form(("a", picture()), ("b", picture()))
        ask(server.address, "POST", "/predict", body, Content_Type=kind)
        ask(server.address, "POST", "/predict", b"bad")
        ask(server.address, "GET", "/none")
        text = ask(server.address, "GET", "/metrics")
        server.gate.is_closing = True
        assert ask(server.address, "GET", "/ready").status == 503
    assert text.headers["Content-Type"].startswith("text/plain; version=")
    lines = text.body.decode().splitlines()
    for line in (
        'alexnet_requests_total{path="/predict",status="200"} 1.0',
        'alexnet_requests_total{path="/predict",status="400"} 1.0',
        'alexnet_requests_total{path="page",status="404"} 1.0',
        'alexnet_errors_total{path="/predict"} 1.0',
        'alexnet_request_seconds_count{path="/predict"} 2.0',
        "alexnet_queue_images 0.0",
        "alexnet_batch_images_count 2.0",
        "alexnet_batch_images_sum 3.0",  # one of them before the first request
    ):
        assert line in lines
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)


def test_the_documentation_of_the_interface_needs_no_other_host(address: Address) -> None:
    page = ask(address, "GET", "/docs").body.decode()
    assert re.findall(r"https?://[^\"' ]+", page) == []
    for path in re.findall(r'(?:src|href)="(/[^"]+)"', page):
        assert ask(address, "GET", path).status == 200
    described = ask(address, "GET", "/openapi.json").json
    assert {"/predict", "/features", "/health", "/ready", "/metrics"} <= set(described["paths"])
    contents = described["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert set(contents) == {"multipart/form-data", "application/octet-stream", "application/json"}


def test_an_unknown_path_and_method_are_told_the_known_ones(address: Address) -> None:
    answer = ask(address, "GET", "/nothing")
    assert (answer.status, answer.json["error"][:43]) == (404, "there is no /nothing. Known: / and /predict")
    answer = ask(address, "GET", "/predict")
    assert (answer.status, answer.json["error"]) == (405, "/predict does not answer GET. See /docs.")


def test_behind_a_prefix_it_answers_whether_the_proxy_takes_it_off_or_not(load: Any) -> None:
    with serving(load(), options=Options(root_path="/net")) as server:
        for path in ("/predict", "/net/predict"):
            assert ask(server.address, "POST", path, picture()).status == 200
        page = ask(server.address, "GET", "/net/docs").body.decode()
        assert "url: '/net/openapi.json'" in page
        assert ask(server.address, "GET", "/net/openapi.json").json["servers"] == [{"url": "/net"}]
        assert ask(server.address, "GET", "/network").status == 404


def test_a_key_is_asked_for_and_may_be_shown_in_three_ways(load: Any) -> None:
    with serving(load(), options=Options(api_key="s3cret:é")) as server:
        key = "s3cret:é".encode().decode("latin-1")
        basic = base64.b64encode("anyone:s3cret:é".encode()).decode()
        for headers in (
            {"Authorization": f"Bearer {key}"},
            {"X_API_Key": key},
            {"Authorization": f"Basic {basic}"},
        ):
            assert ask(server.address, "POST", "/predict", picture(), **headers).status == 200
        for headers in ({}, {"Authorization": "Bearer no"}, {"Authorization": "Basic *"}, {"X_API_Key": ""}):
            for method, path in (("POST", "/predict"), ("GET", "/"), ("GET", "/docs"), ("GET", "/metrics")):
                answer = ask(server.address, method, path, **headers)
                assert (answer.status, answer.headers["WWW-Authenticate"]) == (
                    401,
                    'Basic realm="alexnet", charset="UTF-8"',
                )
                assert answer.json["error"].startswith("the key is missing or wrong. Send the header")
        assert ask(server.address, "GET", "/health").status == 200


def test_a_page_of_another_site_may_not_post(address: Address) -> None:
    answer = ask(address, "POST", "/predict", picture(), Sec_Fetch_Site="cross-site")
    assert (answer.status, answer.json["error"][:46]) == (403, "the request comes from a page of another site.")


def test_requests_that_wait_together_are_computed_together_and_each_gets_its_own_answer(
    load: Any, expected: Any
) -> None:
    pictures = [picture(seed) for seed in range(24)]
    wanted = [expected(data) for data in pictures]
    got: list[Any] = [None] * len(pictures)
    with serving(load(), options=Options(top=2, largest_batch=8)) as server:
        answers = server.service.answers
        sizes = []
        predict = answers.predict

        def slow(images: Any, views: int) -> Any:
            sizes.append(len(images))
            time.sleep(0.2)
            return predict(images, views)

        answers.predict = slow

        def one(number: int) -> None:
            got[number] = ask(server.address, "POST", "/predict", pictures[number]).json["images"][0]

        threads = [threading.Thread(target=one, args=(number,)) for number in range(len(pictures))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for image, want in zip(got, wanted, strict=True):
        assert [value for _, value in bests(image)] == pytest.approx([value for _, value in want], abs=1e-6)
    assert sum(sizes) == 24
    assert max(sizes) == 8


def test_a_full_queue_answers_503_and_says_when_to_ask_again(load: Any) -> None:
    with serving(load(), limits=Limits(queue=1), options=Options(largest_batch=1)) as server:
        answers = server.service.answers
        predict, go_on = answers.predict, threading.Event()

        def slow(images: Any, views: int) -> Any:
            go_on.wait(20)
            return predict(images, views)

        answers.predict = slow
        statuses: list[int] = []

        def one() -> None:
            statuses.append(ask(server.address, "POST", "/predict", picture()).status)

        threads = [threading.Thread(target=one) for _ in range(2)]  # one is computed, one waits
        for thread in threads:
            thread.start()
            while server.service.batcher.pending < len([each for each in threads if each.is_alive()]):
                time.sleep(0.01)
        answer = ask(server.address, "POST", "/predict", picture())
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json["error"] == "too many pictures are waiting. Ask again in 1 s."
        assert ask(server.address, "GET", "/ready").status == 503
        go_on.set()
        for thread in threads:
            thread.join()
        assert statuses == [200, 200]


def test_an_ensemble_is_served_like_a_model(model_path: Path, load: Any, tmp_path: Path) -> None:
    save_ensemble(tmp_path / "two.json", Ensemble([load()] * 2))
    model = load_ensemble(tmp_path / "two.json", device="cpu", precision="float32")
    with serving(model, options=Options(views=10)) as server:
        answer = ask(server.address, "POST", "/predict", picture()).json
    assert (answer["model"], answer["views"]) == ("two.json", 10)


def test_predict_and_serve_tell_their_views_and_agree_on_the_same(model_path: Path, load: Any, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(picture())
    words = ["predict", str(model_path), str(path), "--threads", "1", "--precision", "float32"]
    for views, seen in ((1, "its centre view alone"), (10, "ten views, averaged")):
        options = [] if views == 10 else ["--views", str(views)]
        said = CliRunner().invoke(cli, [*words, *options])
        assert f"Each picture was seen in {seen} (--views {views})." in " ".join(said.stderr.split())
        predicted = json.loads(CliRunner().invoke(cli, [*words, *options, "--json"]).stdout)
        with serving(load(), options=Options(views=views)) as server:
            served = ask(server.address, "POST", "/predict", picture()).json
        assert predicted["views"] == served["views"] == views
        own = [each["probability"] for each in predicted["images"][0]["top"]]
        assert [value for _, value in bests(served["images"][0])] == pytest.approx(own, abs=1e-6)


def test_an_address_that_is_taken_or_unknown_is_named(address: Address) -> None:
    with pytest.raises(
        ConfigError, match=rf"cannot listen on 127\.0\.0\.1:{address.port} \(Address already in use\)\. Choose"
    ):
        open_socket(*address)
    with pytest.raises(
        ConfigError, match=r"cannot listen on no\.such\.host\.invalid:0 \(.+\)\. Choose another --port, or --host\."
    ):
        open_socket("no.such.host.invalid", 0)


def test_an_index_of_another_model_is_refused(load: Any, tmp_path: Path) -> None:
    from evaluation.test_ensemble import write_model

    from alexnet.errors import SearchError
    from alexnet.serving.answers import Answers

    write_pictures(tmp_path / "photos", per_class=1, classes=("ant", "bee"))
    make_index(load(), choose_images([tmp_path / "photos"]), tmp_path / "index")
    other = alexnet.load(write_model(tmp_path / "other.safetensors", seed=1, size=32), precision="float32")
    with pytest.raises(SearchError, match="was made with weights"):
        Answers(other, index=open_index(tmp_path / "index"))
