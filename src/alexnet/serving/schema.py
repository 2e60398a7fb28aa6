"""What /docs says of requests and answers."""

from typing import Any

from pydantic import BaseModel, Field

from alexnet.serving.uploads import JSON_FORM


class _Error(BaseModel):
    error: str = Field(description="What is wrong, and what to do.")


class _Class(BaseModel):
    name: str
    title: str = Field(description="Readable name.")
    probability: float


class _Image(BaseModel):
    name: str = Field(description="As the request calls the file.")
    error: str = Field("", description="Only where the file is no picture; the rest is then missing.")


class _Moment(BaseModel):
    start: float = Field(description="Seconds since the first frame.")
    end: float
    class_: str = Field(alias="class", description="The best class from start to end.")
    title: str
    probability: float


class _Prediction(_Image):
    class_: str = Field(alias="class", description="Name of the best class; of an unknown picture too.")
    title: str
    probability: float
    unknown: bool = Field(
        False, description="Whether the picture is none of the classes; only where the model rejects."
    )
    distance: float = Field(
        0.0, description="From the nearest picture that it keeps of its training, 0 to 2; only where the model rejects."
    )
    labels: list[_Class] = Field(
        [], description="The classes that are there; only where a picture may have any number of them, perhaps none."
    )
    top: list[_Class] = Field(description="Best classes, the best first.")
    moments: list[_Moment] = Field([], description="When the best class changes; only of a clip.")


class _FeaturesOfOne(_Image):
    features: list[float]


class _Neighbor(BaseModel):
    path: str
    split: str = Field(description="null where it has none.")
    class_: str = Field(alias="class", description="null where it is not known.")
    title: str
    distance: float = Field(description="Euclidean, of the features of the index.")
    problem: str = Field(description="What happened to the picture since it was indexed, or null.")


class _NeighborsOfOne(_Image):
    neighbors: list[_Neighbor] = Field(alias="neighbours")


class Predictions(BaseModel):
    """Answer of /predict."""

    model: str
    views: int
    images: list[_Prediction]


class Features(BaseModel):
    """Answer of /features."""

    model: str
    layer: str
    shape: list[int]
    images: list[_FeaturesOfOne]


class Neighbors(BaseModel):
    """Answer of /neighbours."""

    model: str
    images: list[_NeighborsOfOne]


_REFUSALS = {
    400: "No file is a picture, or a parameter is outside what is accepted.",
    401: "The key is missing or wrong.",
    413: "Too many bytes or files.",
    503: "The queue is full; Retry-After says when to ask again.",
}


def describe_upload(summary: str, answer: type[BaseModel]) -> dict[str, Any]:
    """Return the arguments of a route that takes pictures."""
    binary = {"type": "string", "format": "binary"}
    image = {"type": "object", "properties": {"name": {"type": "string"}, "base64": {"type": "string"}}}
    content = {
        "multipart/form-data": {
            "schema": {"type": "object", "properties": {"file": {"type": "array", "items": binary}}}
        },
        "application/octet-stream": {"schema": binary},
        "application/json": {
            "schema": {"type": "object", "properties": {"images": {"type": "array", "items": image}}},
        },
    }
    return {
        "summary": summary,
        "description": f"The bytes of one picture, a form with one or several files, or JSON: `{JSON_FORM}`. "
        "Each file has an answer of its own.",
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
        "responses": {
            200: {"model": answer},
            **{status: {"model": _Error, "description": words} for status, words in _REFUSALS.items()},
        },
    }
