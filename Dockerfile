# Two images of one package: `api` (also migrations, reconciler and beat) has no torch, `worker` has.
#   docker build --target api    --tag secateur-api .
#   docker build --target worker --tag secateur-worker .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
ENV PATH=/opt/venv/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    SECATEUR_DATA_DIR=/data \
    HF_HOME=/data/huggingface
# The folders are made here so that named volumes mounted on them belong to the user.
RUN useradd --uid 10001 --user-group --create-home secateur \
    && install --directory --owner=secateur --group=secateur /data /data/registry /data/huggingface

FROM base AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY api api
COPY cli cli
COPY jobs jobs
COPY migrations migrations
COPY pruning_core pruning_core
COPY registry registry
COPY worker worker
RUN pip wheel --no-deps --wheel-dir /wheels .

FROM base AS api-packages
COPY constraints.txt /tmp/constraints.txt
RUN python -m venv /opt/venv
COPY --from=wheel /wheels /wheels
RUN pip install --constraint /tmp/constraints.txt /wheels/*.whl

FROM base AS worker-packages
# Where torch comes from: its CPU builds, or when empty pip's default index, which has the CUDA build of the version.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY constraints.txt /tmp/constraints.txt
# The constraints name the CPU build (+cpu); without that suffix they mean any build of the version. torch comes before
# the package, so that a change of the code does not fetch it again.
RUN python -m venv /opt/venv \
    && sed -i 's/^\(torch==[^+]*\)+.*/\1/' /tmp/constraints.txt \
    && pip install --constraint /tmp/constraints.txt --no-deps ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} torch
COPY --from=wheel /wheels /wheels
RUN pip install --constraint /tmp/constraints.txt "$(echo /wheels/*.whl)[worker]"

FROM base AS worker
COPY --from=worker-packages /opt/venv /opt/venv
USER 10001:10001
# An empty folder: `python -m` looks for modules where it starts.
WORKDIR /home/secateur
CMD ["python", "-m", "celery", "-A", "worker.app", "worker", "--without-gossip", "--without-mingle", "--loglevel", "INFO", "--queues", "jobs", "--hostname", "jobs@%h", "--pool", "threads", "--concurrency", "1"]

FROM base AS api
COPY --from=api-packages /opt/venv /opt/venv
USER 10001:10001
WORKDIR /home/secateur
EXPOSE 8000
# `http.client` asks no proxy.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
CMD ["python", "-m", "uvicorn", "api.app:app", "--host", "0.0.0.0", "--port", "8000", "--timeout-graceful-shutdown", "5", "--http", "h11"]
