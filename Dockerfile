# syntax=docker/dockerfile:1
# Two targets: `scoring` (Airflow services and CPU workers, no TensorFlow) and `training` (adds the train extra).
FROM python:3.12-slim-bookworm AS base
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 AIRFLOW_HOME=/opt/airflow PYTHONPATH=/opt/airflow/dags
# tini is the first process. It reaps zombies: finished processes whose parent ended first, such as decoders.
RUN apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/*
ENTRYPOINT ["/usr/bin/tini", "--"]
RUN useradd --uid 50000 --gid 0 --create-home --home-dir /opt/airflow airflow
WORKDIR /opt/braintumor
COPY pyproject.toml requirements.lock README.md ./
COPY braintumor ./braintumor
COPY sql ./sql

FROM base AS scoring
# The lock pins versions as a constraint. Only the packages of the scoring path and of Airflow are installed.
RUN sed -e '/--hash/d' -e 's/ \\$//' requirements.lock > /tmp/constraints.txt \
    && pip install -c /tmp/constraints.txt ".[airflow]" && rm /tmp/constraints.txt
COPY --chown=airflow:0 dags /opt/airflow/dags
COPY --chown=airflow:0 plugins /opt/airflow/plugins
COPY --chown=airflow:0 docs /opt/airflow/docs
RUN install -d -o airflow -g 0 -m 0775 /opt/airflow/logs /var/cache/braintumor  # for the owner of new volumes
USER airflow
WORKDIR /opt/airflow

FROM scoring AS training
USER root
ARG EXTRA=train
# TensorFlow for GPUs has the version of the locked one for CPUs. Its CUDA packages are not locked.
RUN cd /opt/braintumor && sed -e '/--hash/d' -e 's/ \\$//' requirements.lock > /tmp/constraints.txt \
    && sed -n 's/^tensorflow-cpu==\([^ ;]*\).*/tensorflow==\1/p' requirements.lock >> /tmp/constraints.txt \
    && pip install -c /tmp/constraints.txt ".[${EXTRA}]" && rm /tmp/constraints.txt
USER airflow
