# harmonia on CPUs, from its wheel.
#     docker build -t harmonia .        (options for pip, say for PyTorch's CPU-only build: --build-arg PIP_FLAGS="...")
#     docker run --rm -v "$PWD:/data" harmonia run experiment=quickstart
# Checked by hadolint only: no image has been built of it.
FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist .

FROM python:3.12-slim
ARG PIP_FLAGS=""
COPY --from=build /dist /dist
# hadolint ignore=DL3013,SC2086
RUN wheel="$(echo /dist/*.whl)" && pip install --no-cache-dir ${PIP_FLAGS} "${wheel}[quickstart]" && rm -r /dist \
    && useradd --create-home --uid 1000 harmonia && mkdir /data && chown harmonia /data
USER 1000
WORKDIR /data
ENV HARMONIA_CACHE=/data/cache
ENTRYPOINT ["harmonia"]
CMD ["--help"]
