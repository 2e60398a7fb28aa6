# alexnet on the CPU, with its page.
#   docker build --tag alexnet .
#   docker run --rm --volume "$PWD:/work" alexnet prepare PHOTOS --out STORE
#   docker run --rm --volume "$PWD:/work" --publish 8000:8000 alexnet serve RUN --host 0.0.0.0
# PyTorch without CUDA is a tenth as large: --build-arg PIP_EXTRA_INDEX_URL=, followed by PyTorch's index of such builds.
FROM python:3.12-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml MANIFEST.in README.md LICENSE CHANGELOG.md constraints.txt constraints-extras.txt ./
COPY src src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim-bookworm
ARG PIP_EXTRA_INDEX_URL=
ARG EXTRAS=web,heif,export
COPY constraints-extras.txt /tmp/
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --constraint /tmp/constraints-extras.txt "$(echo /wheels/*.whl)[$EXTRAS]" \
    && useradd --create-home --uid 1000 alexnet
USER 1000
WORKDIR /work
EXPOSE 8000
ENTRYPOINT ["alexnet"]
CMD ["--help"]
