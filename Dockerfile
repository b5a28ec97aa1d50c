# Two images: `docker build --target operator .` and `docker build --target worker .`
#
# Arguments of the worker:
#   GPU=1              add cuBLAS and cuDNN (x86-64); without it the worker runs on the CPU
#   MODEL=models/NAME  bake in a faster-whisper model folder of the build context; pools then set PROCESSINGPOOL_MODEL=NAME

# --- our own code, alone in a virtual environment: it is laid over the one with the dependencies ---
FROM python:3.12-slim AS code
WORKDIR /src
COPY requirements/build.txt requirements/
RUN pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY contract contract
COPY client client
COPY operator operator
COPY worker worker
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --no-cache-dir --no-deps --no-index /wheels/*.whl

# --- the dependencies: they change seldom, and their layers are the large ones ---
FROM python:3.12-slim AS operator-venv
COPY requirements/operator.txt requirements/
RUN python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --no-cache-dir --require-hashes -r requirements/operator.txt

FROM python:3.12-slim AS worker-venv
ARG GPU=
COPY requirements/worker.txt requirements/worker-gpu.txt requirements/
RUN python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --no-cache-dir --require-hashes -r requirements/worker${GPU:+-gpu}.txt

FROM python:3.12-slim AS model
ARG MODEL=
# bound, not copied: a COPY cannot be left out when no model is wanted
RUN --mount=type=bind,source=.,target=/context \
    mkdir /opt/models && if [ -n "$MODEL" ]; then cp -r "/context/$MODEL" /opt/models/ && chmod -R a+rX /opt/models; fi

# --- what both images run on; the init, because a Python that is process 1 ignores SIGTERM until it has a handler ---
FROM python:3.12-slim AS runtime
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log \
    && groupadd --gid 65532 nonroot \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin nonroot
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /tmp
ENTRYPOINT ["tini", "--"]

FROM runtime AS operator
COPY --from=operator-venv /opt/venv /opt/venv
COPY --from=code /opt/venv /opt/venv
USER 65532:65532
CMD ["processingpool", "operator"]

FROM runtime AS worker
RUN apt-get update \
    && apt-get install -y --no-install-recommends ffmpeg \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log
COPY --from=model /opt/models /opt/models
COPY --from=worker-venv /opt/venv /opt/venv
COPY --from=code /opt/venv /opt/venv
# LD_LIBRARY_PATH: the CUDA libraries of the wheels, where GPU=1 put them; NVIDIA_*: what the node lends of the driver
ENV PROCESSINGPOOL_MODELS=/opt/models \
    LD_LIBRARY_PATH=/opt/venv/lib/python3.12/site-packages/nvidia/cublas/lib:/opt/venv/lib/python3.12/site-packages/nvidia/cudnn/lib \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 65532:65532
CMD ["processingpool", "worker"]
